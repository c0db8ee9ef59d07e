// SPDX-License-Identifier: MIT
//! Flags of calls, each a set of bits.

use crate::sys;

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident { $($(#[$flag_doc:meta])* $flag:ident = $bit:ident;)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
            pub struct $name(u64);

            impl $name {
                /// No flag.
                pub const NONE: $name = $name(0);
                $($(#[$flag_doc])* pub const $flag: $name = $name(sys::$bit);)*

                /// Returns the flags of bits as C has them, also of bits that this crate does not
                /// know.
                pub const fn from_bits(bits: u64) -> $name {
                    $name(bits)
                }

                /// Returns the bits as C has them.
                pub const fn bits(self) -> u64 {
                    self.0
                }

                /// Returns whether all of `other` are set.
                pub const fn contains(self, other: $name) -> bool {
                    self.0 & other.0 == other.0
                }
            }

            impl std::ops::BitOr for $name {
                type Output = $name;

                fn bitor(self, other: $name) -> $name {
                    $name(self.0 | other.0)
                }
            }
        )*
    };
}

flags! {
    /// Flags of [`Page::create`](crate::Page::create).
    PageFlags {
        /// Only the creator can signal, fail or create fences in the page.
        SINGLE_WRITER = UMF_PAGE_SINGLE_WRITER;
        /// Each signal records its time: see [`Fence::timestamp`](crate::Fence::timestamp).
        TIMESTAMPS = UMF_PAGE_TIMESTAMPS;
        /// The page was opened by [`Page::inspect`](crate::Page::inspect). Not for `create`.
        READ_ONLY = UMF_PAGE_READ_ONLY;
    }

    /// Flags of [`Page::create_fence`](crate::Page::create_fence).
    FenceFlags {
        /// The value has 32 bits and wraps around.
        BITS_32 = UMF_FENCE_32BIT;
        /// A device writes the value and wakes no waiter.
        DEVICE = UMF_FENCE_DEVICE;
        /// The fence lives as long as its page.
        LASTING = UMF_FENCE_LASTING;
        /// The value has no order: see [`Fence::update`](crate::Fence::update).
        UNORDERED = UMF_FENCE_UNORDERED;
        /// A value of all ones means that the device is lost. Only for fences in a driver's memory.
        ONES_LOST = UMF_FENCE_ONES_LOST;
    }

    /// Flags of waits and watches.
    WaitFlags {
        /// Wait for the pending value: until work was submitted that will signal the value.
        PENDING = UMF_WAIT_PENDING;
    }

    /// Flags of [`Queue::create`](crate::Queue::create).
    QueueFlags {
        /// A job that can run at once runs within [`Queue::submit`](crate::Queue::submit).
        INLINE = UMF_QUEUE_INLINE;
    }

    /// What the library can do on this machine.
    CapFlags {
        /// One wait can sleep on the fences of up to 128 pages.
        WAIT_MANY_PAGES = UMF_CAP_WAIT_MANY_PAGES;
        /// This process can open /dev/udmabuf.
        UDMABUF = UMF_CAP_UDMABUF;
    }

    /// What a DRM device can do.
    DeviceCapFlags {
        /// The device has binary syncobjs.
        SYNCOBJ = UMF_DEVICE_CAP_SYNCOBJ;
        /// The device has timeline syncobjs.
        TIMELINE = UMF_DEVICE_CAP_TIMELINE;
        /// A syncobj point can signal an eventfd (Linux 6.6).
        EVENTFD = UMF_DEVICE_CAP_EVENTFD;
        /// A syncobj wait can carry a deadline hint (Linux 6.8).
        DEADLINE = UMF_DEVICE_CAP_DEADLINE;
    }
}

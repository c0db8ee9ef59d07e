// SPDX-License-Identifier: MIT
// Made from include/libumf.h by bindings/rust/generate. Do not edit.

pub const UMF_VERSION_MAJOR: u32 = 0;
pub const UMF_VERSION_MINOR: u32 = 1;
pub const UMF_VERSION_PATCH: u32 = 0;
pub const UMF_CAP_WAIT_MANY_PAGES: u64 = 1;
pub const UMF_CAP_UDMABUF: u64 = 2;
pub const UMF_PAGE_MAX_FENCES: u32 = 1048576;
pub const UMF_PAGE_SINGLE_WRITER: u64 = 1;
pub const UMF_PAGE_READ_ONLY: u64 = 2;
pub const UMF_PAGE_TIMESTAMPS: u64 = 4;
pub const UMF_PAGE_MEMORY_WRITE: u64 = 1;
pub const UMF_FENCE_32BIT: u64 = 1;
pub const UMF_FENCE_DEVICE: u64 = 2;
pub const UMF_FENCE_LASTING: u64 = 4;
pub const UMF_FENCE_UNORDERED: u64 = 16;
pub const UMF_UPDATE_EXCHANGE: u32 = 0;
pub const UMF_UPDATE_COMPARE_EXCHANGE: u32 = 1;
pub const UMF_UPDATE_ADD: u32 = 2;
pub const UMF_UPDATE_SUBTRACT: u32 = 3;
pub const UMF_UPDATE_AND: u32 = 4;
pub const UMF_UPDATE_OR: u32 = 5;
pub const UMF_UPDATE_XOR: u32 = 6;
pub const UMF_FENCE_ONES_LOST: u64 = 8;
pub const UMF_WAIT_MAX: u32 = 1048576;
pub const UMF_WAIT_ANY: u64 = 1;
pub const UMF_WAIT_PENDING: u64 = 2;
pub const UMF_OP_GE: u32 = 0;
pub const UMF_OP_GT: u32 = 1;
pub const UMF_OP_EQ: u32 = 2;
pub const UMF_OP_NE: u32 = 3;
pub const UMF_OP_LT: u32 = 4;
pub const UMF_OP_LE: u32 = 5;
pub const UMF_OP_SIGNED: u32 = 256;
pub const UMF_DEVICE_CAP_SYNCOBJ: u64 = 1;
pub const UMF_DEVICE_CAP_TIMELINE: u64 = 2;
pub const UMF_DEVICE_CAP_EVENTFD: u64 = 4;
pub const UMF_DEVICE_CAP_DEADLINE: u64 = 8;
pub const UMF_DMA_BUF_READ: u64 = 1;
pub const UMF_DMA_BUF_WRITE: u64 = 2;
pub const UMF_FENCE_MAX_ATTACHMENTS: u32 = 256;
pub const UMF_LOOP_THREAD: u64 = 1;
pub const UMF_TIE_PROCESS: u64 = 1;
pub const UMF_QUEUE_INLINE: u64 = 1;
pub const UMF_JOB_DONE: u32 = 0;
pub const UMF_JOB_SUBMITTED: u32 = 1;
pub const UMF_GRAPH_DOT: u64 = 1;
pub const UMF_GRAPH_JSON: u64 = 2;
pub const UMF_FENCE_INFO_EXTERNAL: u64 = 4294967296;
pub const UMF_FENCE_INFO_WAITERS: u64 = 8589934592;
pub const UMF_NAME_SIZE: u32 = 56;
pub const UMF_NAME_OF_PAGE: u32 = 4294967295;
unsafe extern "C" {
    pub fn umf_version() -> u32;
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct umf_caps {
    pub size: u32,
    pub version: u32,
    pub flags: u64,
    pub max_fences: u32,
    pub max_waits: u32,
}
unsafe extern "C" {
    pub fn umf_query_caps(caps: *mut umf_caps) -> core::ffi::c_int;
    pub fn umf_set_spin(vain_permille: u32, limit_ns: u32, flags: u64) -> core::ffi::c_int;
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct umf_page {
    _unused: [u8; 0],
}
unsafe extern "C" {
    pub fn umf_page_create(
        fence_count: u32,
        flags: u64,
        out_page: *mut *mut umf_page,
    ) -> core::ffi::c_int;
    pub fn umf_page_import(
        fd: core::ffi::c_int,
        flags: u64,
        out_page: *mut *mut umf_page,
    ) -> core::ffi::c_int;
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct umf_page_limits {
    pub size: u32,
    pub max_fences: u32,
}
unsafe extern "C" {
    pub fn umf_page_import_limited(
        fd: core::ffi::c_int,
        flags: u64,
        limits: *const umf_page_limits,
        out_page: *mut *mut umf_page,
    ) -> core::ffi::c_int;
    pub fn umf_page_export(
        page: *mut umf_page,
        flags: u64,
        out_fd: *mut core::ffi::c_int,
    ) -> core::ffi::c_int;
    pub fn umf_page_get_memory(
        page: *mut umf_page,
        flags: u64,
        out_address: *mut *mut core::ffi::c_void,
        out_size: *mut u64,
    ) -> core::ffi::c_int;
    pub fn umf_page_export_dma_buf(
        page: *mut umf_page,
        flags: u64,
        out_fd: *mut core::ffi::c_int,
    ) -> core::ffi::c_int;
    pub fn umf_page_set_error(page: *mut umf_page, error: core::ffi::c_int) -> core::ffi::c_int;
    pub fn umf_page_reclaim(
        page: *mut umf_page,
        flags: u64,
        out_count: *mut u32,
    ) -> core::ffi::c_int;
    pub fn umf_page_flags(page: *const umf_page) -> u64;
    pub fn umf_page_fence_count(page: *const umf_page) -> u32;
    pub fn umf_page_ref(page: *mut umf_page) -> *mut umf_page;
    pub fn umf_page_unref(page: *mut umf_page);
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct umf_fence {
    _unused: [u8; 0],
}
unsafe extern "C" {
    pub fn umf_fence_create(
        page: *mut umf_page,
        value: u64,
        flags: u64,
        out_fence: *mut *mut umf_fence,
    ) -> core::ffi::c_int;
    pub fn umf_fence_open(
        page: *mut umf_page,
        index: u32,
        flags: u64,
        out_fence: *mut *mut umf_fence,
    ) -> core::ffi::c_int;
    pub fn umf_fence_end(fence: *mut umf_fence) -> core::ffi::c_int;
    pub fn umf_fence_ref(fence: *mut umf_fence) -> *mut umf_fence;
    pub fn umf_fence_unref(fence: *mut umf_fence);
    pub fn umf_fence_page(fence: *const umf_fence) -> *mut umf_page;
    pub fn umf_fence_index(fence: *const umf_fence) -> u32;
    pub fn umf_fence_signal(fence: *mut umf_fence, value: u64) -> core::ffi::c_int;
    pub fn umf_fence_update(
        fence: *mut umf_fence,
        operation: u32,
        operand: u64,
        expected: u64,
        out_previous: *mut u64,
    ) -> core::ffi::c_int;
    pub fn umf_fence_value(fence: *const umf_fence) -> u64;
    pub fn umf_fence_submit(fence: *mut umf_fence, value: u64) -> core::ffi::c_int;
    pub fn umf_fence_pending_value(fence: *const umf_fence) -> u64;
    pub fn umf_fence_timestamp(
        fence: *const umf_fence,
        value: u64,
        out_ns: *mut u64,
    ) -> core::ffi::c_int;
    pub fn umf_fence_set_error(fence: *mut umf_fence, error: core::ffi::c_int) -> core::ffi::c_int;
    pub fn umf_fence_error(
        fence: *const umf_fence,
        out_error: *mut core::ffi::c_int,
    ) -> core::ffi::c_int;
    pub fn umf_fence_offset(fence: *const umf_fence) -> u64;
    pub fn umf_fence_monitored_offset(fence: *const umf_fence) -> u64;
    pub fn umf_fence_notify(fence: *mut umf_fence) -> core::ffi::c_int;
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct umf_mapping {
    pub size: u32,
    pub reserved: u32,
    pub value: *const core::ffi::c_void,
    pub data: *mut core::ffi::c_void,
    pub release: Option<unsafe extern "C" fn(data: *mut core::ffi::c_void)>,
}
unsafe extern "C" {
    pub fn umf_fence_create_in(
        page: *mut umf_page,
        memory: *const umf_mapping,
        flags: u64,
        out_fence: *mut *mut umf_fence,
    ) -> core::ffi::c_int;
    pub fn umf_fence_open_in(
        page: *mut umf_page,
        index: u32,
        memory: *const umf_mapping,
        flags: u64,
        out_fence: *mut *mut umf_fence,
    ) -> core::ffi::c_int;
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct umf_notifier {
    _unused: [u8; 0],
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct umf_interrupt {
    pub size: u32,
    pub fd: core::ffi::c_int,
    pub wait: Option<
        unsafe extern "C" fn(data: *mut core::ffi::c_void, abs_timeout_ns: u64) -> core::ffi::c_int,
    >,
    pub data: *mut core::ffi::c_void,
    pub release: Option<unsafe extern "C" fn(data: *mut core::ffi::c_void)>,
}
unsafe extern "C" {
    pub fn umf_notifier_create(
        interrupt: *const umf_interrupt,
        flags: u64,
        out_notifier: *mut *mut umf_notifier,
    ) -> core::ffi::c_int;
    pub fn umf_notifier_ref(notifier: *mut umf_notifier) -> *mut umf_notifier;
    pub fn umf_notifier_unref(notifier: *mut umf_notifier);
    pub fn umf_fence_set_notifier(
        fence: *mut umf_fence,
        notifier: *mut umf_notifier,
    ) -> core::ffi::c_int;
    pub fn umf_page_set_notifier(
        page: *mut umf_page,
        notifier: *mut umf_notifier,
    ) -> core::ffi::c_int;
    pub fn umf_page_notify(page: *mut umf_page) -> core::ffi::c_int;
    pub fn umf_fence_wait(
        fence: *mut umf_fence,
        value: u64,
        abs_timeout_ns: u64,
    ) -> core::ffi::c_int;
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct umf_condition {
    pub fence: *mut umf_fence,
    pub value: u64,
    pub op: u32,
    pub reserved: u32,
    pub mask: u64,
}
unsafe extern "C" {
    pub fn umf_wait(
        waits: *const umf_condition,
        count: u32,
        flags: u64,
        abs_timeout_ns: u64,
        out_index: *mut u32,
    ) -> core::ffi::c_int;
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct umf_wait_set {
    _unused: [u8; 0],
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct umf_wait_set_result {
    pub id: u64,
    pub user_data: u64,
    pub result: core::ffi::c_int,
    pub reserved: u32,
}
unsafe extern "C" {
    pub fn umf_wait_set_create(flags: u64, out_set: *mut *mut umf_wait_set) -> core::ffi::c_int;
    pub fn umf_wait_set_ref(set: *mut umf_wait_set) -> *mut umf_wait_set;
    pub fn umf_wait_set_unref(set: *mut umf_wait_set);
    pub fn umf_wait_set_add(
        set: *mut umf_wait_set,
        wait: *const umf_condition,
        flags: u64,
        user_data: u64,
        out_id: *mut u64,
    ) -> core::ffi::c_int;
    pub fn umf_wait_set_modify(
        set: *mut umf_wait_set,
        id: u64,
        wait: *const umf_condition,
        flags: u64,
    ) -> core::ffi::c_int;
    pub fn umf_wait_set_remove(set: *mut umf_wait_set, id: u64) -> core::ffi::c_int;
    pub fn umf_wait_set_wait(
        set: *mut umf_wait_set,
        results: *mut umf_wait_set_result,
        count: u32,
        abs_timeout_ns: u64,
        out_count: *mut u32,
    ) -> core::ffi::c_int;
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct umf_device {
    _unused: [u8; 0],
}
unsafe extern "C" {
    pub fn umf_device_create(
        drm_fd: core::ffi::c_int,
        flags: u64,
        out_device: *mut *mut umf_device,
    ) -> core::ffi::c_int;
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct umf_device_caps {
    pub size: u32,
    pub reserved: u32,
    pub flags: u64,
}
unsafe extern "C" {
    pub fn umf_device_query_caps(
        device: *const umf_device,
        caps: *mut umf_device_caps,
    ) -> core::ffi::c_int;
    pub fn umf_device_ref(device: *mut umf_device) -> *mut umf_device;
    pub fn umf_device_unref(device: *mut umf_device);
    pub fn umf_fence_export_sync_file(
        fence: *mut umf_fence,
        value: u64,
        device: *mut umf_device,
        flags: u64,
        abs_timeout_ns: u64,
        out_fd: *mut core::ffi::c_int,
    ) -> core::ffi::c_int;
    pub fn umf_fence_import_sync_file(
        fence: *mut umf_fence,
        value: u64,
        sync_file_fd: core::ffi::c_int,
        flags: u64,
        abs_timeout_ns: u64,
    ) -> core::ffi::c_int;
    pub fn umf_fence_export_syncobj(
        fence: *mut umf_fence,
        value: u64,
        device: *mut umf_device,
        handle: u32,
        point: u64,
        flags: u64,
        abs_timeout_ns: u64,
    ) -> core::ffi::c_int;
    pub fn umf_fence_import_syncobj(
        fence: *mut umf_fence,
        value: u64,
        device: *mut umf_device,
        handle: u32,
        point: u64,
        flags: u64,
        abs_timeout_ns: u64,
    ) -> core::ffi::c_int;
    pub fn umf_fence_export_dma_buf(
        fence: *mut umf_fence,
        value: u64,
        device: *mut umf_device,
        dma_buf_fd: core::ffi::c_int,
        flags: u64,
        abs_timeout_ns: u64,
    ) -> core::ffi::c_int;
    pub fn umf_fence_import_dma_buf(
        fence: *mut umf_fence,
        value: u64,
        dma_buf_fd: core::ffi::c_int,
        flags: u64,
        abs_timeout_ns: u64,
    ) -> core::ffi::c_int;
    pub fn umf_fence_attach_sync_file(
        fence: *mut umf_fence,
        value: u64,
        sync_file_fd: core::ffi::c_int,
        flags: u64,
    ) -> core::ffi::c_int;
    pub fn umf_fence_set_deadline(
        fence: *mut umf_fence,
        value: u64,
        abs_deadline_ns: u64,
        flags: u64,
    ) -> core::ffi::c_int;
    pub fn umf_fence_attach_syncobj(
        fence: *mut umf_fence,
        value: u64,
        device: *mut umf_device,
        handle: u32,
        point: u64,
        flags: u64,
    ) -> core::ffi::c_int;
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct umf_loop {
    _unused: [u8; 0],
}
unsafe extern "C" {
    pub fn umf_loop_create(flags: u64, out_loop: *mut *mut umf_loop) -> core::ffi::c_int;
    pub fn umf_loop_ref(event_loop: *mut umf_loop) -> *mut umf_loop;
    pub fn umf_loop_unref(event_loop: *mut umf_loop);
    pub fn umf_loop_fd(event_loop: *const umf_loop) -> core::ffi::c_int;
    pub fn umf_loop_dispatch(event_loop: *mut umf_loop, flags: u64) -> core::ffi::c_int;
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct umf_watch {
    _unused: [u8; 0],
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct umf_callback {
    pub call: Option<unsafe extern "C" fn(data: *mut core::ffi::c_void, result: core::ffi::c_int)>,
    pub release: Option<unsafe extern "C" fn(data: *mut core::ffi::c_void)>,
    pub data: *mut core::ffi::c_void,
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct umf_many_callback {
    pub call: Option<
        unsafe extern "C" fn(data: *mut core::ffi::c_void, result: core::ffi::c_int, index: u32),
    >,
    pub release: Option<unsafe extern "C" fn(data: *mut core::ffi::c_void)>,
    pub data: *mut core::ffi::c_void,
}
unsafe extern "C" {
    pub fn umf_loop_watch(
        event_loop: *mut umf_loop,
        wait: *const umf_condition,
        flags: u64,
        callback: *const umf_callback,
        out_watch: *mut *mut umf_watch,
    ) -> core::ffi::c_int;
    pub fn umf_loop_watch_many(
        event_loop: *mut umf_loop,
        waits: *const umf_condition,
        count: u32,
        flags: u64,
        callback: *const umf_many_callback,
        out_watch: *mut *mut umf_watch,
    ) -> core::ffi::c_int;
    pub fn umf_loop_export_eventfd(
        event_loop: *mut umf_loop,
        wait: *const umf_condition,
        flags: u64,
        eventfd: core::ffi::c_int,
        callback: *const umf_callback,
        out_watch: *mut *mut umf_watch,
    ) -> core::ffi::c_int;
    pub fn umf_loop_export_fence(
        event_loop: *mut umf_loop,
        fence: *mut umf_fence,
        value: u64,
        target: *mut umf_fence,
        target_value: u64,
        flags: u64,
        callback: *const umf_callback,
        out_watch: *mut *mut umf_watch,
    ) -> core::ffi::c_int;
    pub fn umf_loop_tie_fence(
        event_loop: *mut umf_loop,
        fence: *mut umf_fence,
        peer_fd: core::ffi::c_int,
        flags: u64,
        callback: *const umf_callback,
        out_watch: *mut *mut umf_watch,
    ) -> core::ffi::c_int;
    pub fn umf_loop_tie_page(
        event_loop: *mut umf_loop,
        page: *mut umf_page,
        peer_fd: core::ffi::c_int,
        flags: u64,
        callback: *const umf_callback,
        out_watch: *mut *mut umf_watch,
    ) -> core::ffi::c_int;
    pub fn umf_watch_ref(watch: *mut umf_watch) -> *mut umf_watch;
    pub fn umf_watch_unref(watch: *mut umf_watch);
    pub fn umf_watch_cancel(watch: *mut umf_watch) -> core::ffi::c_int;
    pub fn umf_watch_result(watch: *const umf_watch) -> core::ffi::c_int;
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct umf_syncobj {
    _unused: [u8; 0],
}
unsafe extern "C" {
    pub fn umf_syncobj_create(
        device: *mut umf_device,
        flags: u64,
        out_syncobj: *mut *mut umf_syncobj,
    ) -> core::ffi::c_int;
    pub fn umf_syncobj_open(
        device: *mut umf_device,
        handle: u32,
        flags: u64,
        out_syncobj: *mut *mut umf_syncobj,
    ) -> core::ffi::c_int;
    pub fn umf_syncobj_export(
        syncobj: *mut umf_syncobj,
        flags: u64,
        out_fd: *mut core::ffi::c_int,
    ) -> core::ffi::c_int;
    pub fn umf_syncobj_signal(
        syncobj: *mut umf_syncobj,
        point: u64,
        flags: u64,
    ) -> core::ffi::c_int;
    pub fn umf_syncobj_ref(syncobj: *mut umf_syncobj) -> *mut umf_syncobj;
    pub fn umf_syncobj_unref(syncobj: *mut umf_syncobj);
    pub fn umf_loop_export_syncobj(
        event_loop: *mut umf_loop,
        fence: *mut umf_fence,
        value: u64,
        syncobj: *mut umf_syncobj,
        point: u64,
        flags: u64,
        callback: *const umf_callback,
        out_watch: *mut *mut umf_watch,
    ) -> core::ffi::c_int;
    pub fn umf_loop_import_sync_file(
        event_loop: *mut umf_loop,
        fence: *mut umf_fence,
        value: u64,
        sync_file_fd: core::ffi::c_int,
        flags: u64,
        callback: *const umf_callback,
        out_watch: *mut *mut umf_watch,
    ) -> core::ffi::c_int;
    pub fn umf_loop_import_syncobj(
        event_loop: *mut umf_loop,
        fence: *mut umf_fence,
        value: u64,
        syncobj: *mut umf_syncobj,
        point: u64,
        flags: u64,
        callback: *const umf_callback,
        out_watch: *mut *mut umf_watch,
    ) -> core::ffi::c_int;
    pub fn umf_loop_import_dma_buf(
        event_loop: *mut umf_loop,
        fence: *mut umf_fence,
        value: u64,
        dma_buf_fd: core::ffi::c_int,
        flags: u64,
        callback: *const umf_callback,
        out_watch: *mut *mut umf_watch,
    ) -> core::ffi::c_int;
    pub fn umf_loop_import_xshmfence(
        event_loop: *mut umf_loop,
        fence: *mut umf_fence,
        value: u64,
        xshmfence_fd: core::ffi::c_int,
        flags: u64,
        callback: *const umf_callback,
        out_watch: *mut *mut umf_watch,
    ) -> core::ffi::c_int;
    pub fn umf_loop_export_xshmfence(
        event_loop: *mut umf_loop,
        fence: *mut umf_fence,
        value: u64,
        xshmfence_fd: core::ffi::c_int,
        flags: u64,
        callback: *const umf_callback,
        out_watch: *mut *mut umf_watch,
    ) -> core::ffi::c_int;
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct umf_queue {
    _unused: [u8; 0],
}
unsafe extern "C" {
    pub fn umf_queue_create(
        event_loop: *mut umf_loop,
        flags: u64,
        out_queue: *mut *mut umf_queue,
    ) -> core::ffi::c_int;
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct umf_signal {
    pub fence: *mut umf_fence,
    pub value: u64,
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct umf_job {
    pub size: u32,
    pub wait_count: u32,
    pub signal_count: u32,
    pub reserved: u32,
    pub waits: *const umf_condition,
    pub signals: *const umf_signal,
    pub run: Option<unsafe extern "C" fn(data: *mut core::ffi::c_void) -> core::ffi::c_int>,
    pub release:
        Option<unsafe extern "C" fn(data: *mut core::ffi::c_void, result: core::ffi::c_int)>,
    pub data: *mut core::ffi::c_void,
}
unsafe extern "C" {
    pub fn umf_queue_submit(
        queue: *mut umf_queue,
        job: *const umf_job,
        flags: u64,
    ) -> core::ffi::c_int;
    pub fn umf_queue_drain(queue: *mut umf_queue, abs_timeout_ns: u64) -> core::ffi::c_int;
    pub fn umf_queue_cancel(queue: *mut umf_queue) -> core::ffi::c_int;
    pub fn umf_queue_fail(queue: *mut umf_queue, error: core::ffi::c_int) -> core::ffi::c_int;
    pub fn umf_queue_ref(queue: *mut umf_queue) -> *mut umf_queue;
    pub fn umf_queue_unref(queue: *mut umf_queue);
    pub fn umf_graph_write(
        fd: core::ffi::c_int,
        flags: u64,
        out_deadlocks: *mut u32,
    ) -> core::ffi::c_int;
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct umf_log_handler {
    pub call: Option<
        unsafe extern "C" fn(data: *mut core::ffi::c_void, message: *const core::ffi::c_char),
    >,
    pub release: Option<unsafe extern "C" fn(data: *mut core::ffi::c_void)>,
    pub data: *mut core::ffi::c_void,
}
unsafe extern "C" {
    pub fn umf_set_log_handler(handler: *const umf_log_handler, flags: u64) -> core::ffi::c_int;
    pub fn umf_page_record_waits(
        page: *mut umf_page,
        on: core::ffi::c_int,
        flags: u64,
    ) -> core::ffi::c_int;
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct umf_fence_info {
    pub size: u32,
    pub error: i32,
    pub flags: u64,
    pub value: u64,
    pub pending: u64,
    pub generation: u64,
    pub creator_pid: u32,
    pub creator_pid_namespace: u32,
    pub wake_ups: u32,
    pub reserved: u32,
}
unsafe extern "C" {
    pub fn umf_page_query_fence(
        page: *mut umf_page,
        index: u32,
        flags: u64,
        info: *mut umf_fence_info,
    ) -> core::ffi::c_int;
    pub fn umf_trace_start(path: *const core::ffi::c_char, flags: u64) -> core::ffi::c_int;
    pub fn umf_trace_stop();
    pub fn umf_page_set_name(
        page: *mut umf_page,
        name: *const core::ffi::c_char,
    ) -> core::ffi::c_int;
    pub fn umf_fence_set_name(
        fence: *mut umf_fence,
        name: *const core::ffi::c_char,
    ) -> core::ffi::c_int;
    pub fn umf_page_query_name(
        page: *mut umf_page,
        index: u32,
        flags: u64,
        out_name: *mut core::ffi::c_char,
    ) -> core::ffi::c_int;
}

#!/usr/bin/env python3
"""Adds libumf's vk_sync_type to the source of Mesa, and lavapipe's use of it.

    apply.py SOURCE [TARGET]

Reads files of Mesa's in SOURCE and writes what they become to TARGET, or to SOURCE itself. A file that is there already as it is
to be is left alone, so that only what changed is built again. What is added is in files of its own, beside this one; the edits
below make Mesa build and call it. Each names a line of Mesa's, which has to be there exactly once.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent

RUNTIME = "src/vulkan/runtime"
LAVAPIPE = "src/gallium/frontends/lavapipe"

NEW_FILES = {
    RUNTIME: ["vk_umf_sync.c", "vk_umf_sync.h"],
    LAVAPIPE: ["lvp_umf.c", "lvp_umf.h"],
}

BEFORE, AFTER, INSTEAD = "before", "after", "instead"

# File → edits: where the text goes, from the line that contains the anchor; the anchor; the text.
EDITS = {
    "meson_options.txt": [(BEFORE, "  'precomp-compiler',", """\
  'libumf',
  type : 'feature',
  value : 'disabled',
  description : 'Userspace memory fences for timeline semaphores and shareable payloads (lavapipe)'
)

option(
""")],

    "meson.build": [(BEFORE, "with_gallium_drisw_kms = false", """\
dep_libumf = dependency('libumf', required : get_option('libumf'))
if dep_libumf.found()
  dep_libumf = declare_dependency(dependencies : dep_libumf, compile_args : '-DHAVE_LIBUMF')
endif

""")],

    # The runtime: one more sync type.
    f"{RUNTIME}/meson.build": [(BEFORE, "if dep_libdrm.found()", """\
if dep_libumf.found()
  vulkan_lite_runtime_files += files('vk_umf_sync.c')
  vulkan_lite_runtime_deps += dep_libumf
endif

""")],

    # A submission that is merged with the one before keeps what the runtime has to know of its own waits. Without that a binary
    # semaphore stays signaled, or the queue waits for a signal that is behind it.
    f"{RUNTIME}/vk_queue.c": [(AFTER, "first->_has_binary_permanent_semaphore_wait;", """\
   merged->_has_binary_permanent_semaphore_wait |=
      second->_has_binary_permanent_semaphore_wait;
""")],

    # lavapipe: has no other sync type, and what that one can do.
    f"{LAVAPIPE}/meson.build": [
        (AFTER, "lvp_deps = []", """\
if dep_libumf.found()
  liblvp_files += files('lvp_umf.c')
  lvp_deps += dep_libumf
endif
"""),
    ],
    f"{LAVAPIPE}/lvp_private.h": [
        (AFTER, '#include "vk_sync_timeline.h"', """\
#ifdef HAVE_LIBUMF
#include "vk_umf_sync.h"
#endif
"""),
        (AFTER, "struct vk_sync_timeline_type sync_timeline_type;", """\
#ifdef HAVE_LIBUMF
   struct vk_umf_sync_type umf_sync_type;
#endif
"""),
        (AFTER, "struct pipe_fence_handle *last_fence;", """\
#ifdef HAVE_LIBUMF
   VkResult (*execute)(struct vk_queue *queue, struct vk_queue_submit *submit);
#endif
"""),
    ],
    f"{LAVAPIPE}/lvp_device.c": [
        (AFTER, '#include "lvp_conv.h"', """\
#ifdef HAVE_LIBUMF
#include "lvp_umf.h"
#include "vk_common_entrypoints.h"
#endif
"""),
        (AFTER, "device->vk.supported_sync_types = device->sync_types;", """\
#ifdef HAVE_LIBUMF
   result = vk_umf_sync_type_init(&device->umf_sync_type, -1);
   if (result != VK_SUCCESS) {
      vk_error(instance, result);
      goto fail;
   }
   device->sync_types[0] = &device->umf_sync_type.sync;
   device->sync_types[1] = NULL;
#endif
"""),
        (BEFORE, "/* SNORM blending on llvmpipe fails CTS - disable by default */", """\
#ifdef HAVE_LIBUMF
   device->vk.supported_extensions.KHR_external_semaphore_fd = true;
   device->vk.supported_extensions.KHR_external_fence_fd = true;
#endif

"""),
        (AFTER, "device->pscreen->destroy(device->pscreen);", """\
#ifdef HAVE_LIBUMF
   vk_umf_sync_type_finish(&device->umf_sync_type);
#endif
"""),
        (INSTEAD, "queue->vk.driver_submit = lvp_queue_submit;", """\
#ifdef HAVE_LIBUMF
   queue->vk.driver_submit = lvp_umf_queue_submit;
   queue->execute = lvp_queue_submit;
#else
   queue->vk.driver_submit = lvp_queue_submit;
#endif
"""),
        (AFTER, "handle_type = pExternalFenceInfo->handleType;", """\

#ifdef HAVE_LIBUMF
   vk_common_GetPhysicalDeviceExternalFenceProperties(physicalDevice, pExternalFenceInfo,
                                                      pExternalFenceProperties);
   return;
#endif
"""),
        (AFTER, "handle_type = pExternalSemaphoreInfo->handleType;", """\

#ifdef HAVE_LIBUMF
   vk_common_GetPhysicalDeviceExternalSemaphoreProperties(physicalDevice, pExternalSemaphoreInfo,
                                                          pExternalSemaphoreProperties);
   return;
#endif
"""),
    ],
}


class Mismatch(Exception):
    """Mesa's source is not the one that the edits were written for."""


def edit(text, edits, name):
    for where, anchor, added in edits:
        lines = text.splitlines(keepends=True)
        found = [number for number, line in enumerate(lines) if anchor in line]
        if len(found) != 1:
            raise Mismatch(f"{name}: {len(found)} lines with {anchor!r}, not one")
        start = found[0] + (where == AFTER)
        end = found[0] + (where == INSTEAD or where == AFTER)
        lines[start:end] = [added]
        text = "".join(lines)
    return text


def put(path, text):
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def main(source, target=None):
    source, target = Path(source), Path(target or source)
    # All or nothing: whatever does not fit is found before anything is written.
    if any((source / folder / name).exists() for folder, names in NEW_FILES.items() for name in names):
        raise Mismatch(f"{source} has been through this")
    results = {name: edit((source / name).read_text(), edits, name) for name, edits in EDITS.items()}
    for folder, names in NEW_FILES.items():
        results |= {f"{folder}/{name}": (HERE / name).read_text() for name in names}
    for name, text in results.items():
        put(target / name, text)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except (Mismatch, OSError) as problem:
        sys.exit(f"apply.py: {problem}")

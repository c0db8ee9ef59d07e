/* SPDX-License-Identifier: MIT */
/* The functions that the header marks async-signal-safe. The program is built with -DHEADER. */
#ifndef MARKED_SAFE_H
#define MARKED_SAFE_H

#include "check.h"

/* Every function that the header marks. */
#define SAFE(F)                                                                                    \
    F(umf_version) F(umf_set_spin) F(umf_page_flags) F(umf_page_fence_count) F(umf_page_ref)       \
    F(umf_fence_ref) F(umf_fence_page) F(umf_fence_index) F(umf_fence_offset) F(umf_fence_value)   \
    F(umf_fence_signal) F(umf_fence_notify) F(umf_fence_monitored_offset) F(umf_fence_submit)      \
    F(umf_fence_pending_value) F(umf_fence_set_error) F(umf_fence_error) F(umf_fence_wait)         \
    F(umf_wait) F(umf_device_ref) F(umf_loop_ref) F(umf_loop_fd) F(umf_watch_ref)                  \
    F(umf_syncobj_ref) F(umf_queue_ref) F(umf_notifier_ref) F(umf_page_notify)                     \
    F(umf_page_get_memory) F(umf_page_set_error) F(umf_fence_end) F(umf_fence_update)              \
    F(umf_fence_timestamp) F(umf_wait_set_ref)

#define NAME(name) #name,
static const char *const safe[] = { SAFE(NAME) };

static inline bool
is_listed(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(safe); i++) {
        if (strcmp(safe[i], name) == 0)
            return true;
    }
    return false;
}

/* A function's comment comes before it, and each comment starts anew. */
static inline void
the_header_marks_these_and_no_others(void)
{
    char line[512], name[64];
    unsigned marked = 0, functions = 0;
    bool in_comment = false, is_safe = false;
    FILE *header = fopen(HEADER, "re");
    CHECK(header);
    while (fgets(line, sizeof(line), header)) {
        if (strncmp(line, "/**", 3) == 0) {
            in_comment = true;
            is_safe = false;
        }
        if (in_comment && strstr(line, "async-signal-safe"))
            is_safe = true;
        if (strstr(line, "*/")) {
            in_comment = false;
            continue;
        }
        const char *at =
            in_comment || line[0] == ' ' || line[0] == '#' ? NULL : strstr(line, "umf_");
        while (at && sscanf(at, "%63[a-z0-9_]", name) == 1 && at[strlen(name)] != '(')
            at = strstr(at + 1, "umf_");
        if (!at)
            continue;
        functions++;
        marked += is_safe;
        if (is_safe != is_listed(name)) {
            fprintf(stderr, "%s is %s async-signal-safe in the header\n", name,
                    is_safe ? "marked" : "not marked");
            exit(1);
        }
    }
    fclose(header);
    CHECK(functions > 60 && marked == ARRAY_SIZE(safe));
}

#endif

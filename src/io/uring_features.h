/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What kernels later than 5.14 add to io_uring, and to what they say of files: names, and sets of
 * them as people write them.
 * docs/io.md says what each is used for and what replaces it.
 *
 * Threading: any.   Memory: none.
 */
#ifndef IO_URING_FEATURES_H
#define IO_URING_FEATURES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

/* Bits of a set; the version in which each appeared. */
#define URING_FEATURE_DEFER_TASKRUN UINT64_C(1)   /* 6.1: single issuer, work in our own calls. */
#define URING_FEATURE_COOP_TASKRUN  UINT64_C(2)   /* 5.19: no interrupt for each completion. */
#define URING_FEATURE_RING_FD       UINT64_C(4)   /* 5.18: the ring's own descriptor registered. */
#define URING_FEATURE_FILES         UINT64_C(8)   /* Registered files; older, but may be refused. */
#define URING_FEATURE_BLOCK_DISCARD UINT64_C(16)  /* 6.12: discard of block devices. */
#define URING_FEATURE_POLL_FIRST    UINT64_C(32)  /* 5.19: a receive that waits at once. */
#define URING_FEATURE_BUFFERS       UINT64_C(64)  /* 5.19: registered buffers, one by one. */
#define URING_FEATURE_DIO_ALIGN     UINT64_C(128) /* 6.1: statx knows the alignment. */
#define URING_FEATURE_WRITE_ATOMIC  UINT64_C(256) /* 6.11: statx knows the atomic write size. */
#define URING_FEATURES_ALL          UINT64_C(511)

/*
 * Reads a list: "all", "none", a version such as "5.14" (what that kernel has), names, and names
 * with a minus that take away, separated by commas and applied from left to right.  A list that
 * begins with a minus begins with all.  INVALID if a word is none of these.
 */
struct status uring_features_parse(const char *list, uint64_t *out_features) MUST_CHECK;

#define URING_FEATURES_COUNT 9 /* In all. */

/* Fills out_names with the names of a set, oldest feature first; returns how many it has. */
unsigned uring_features_names(uint64_t set, const char *out_names[URING_FEATURES_COUNT]);

#define URING_FEATURES_TEXT_BYTES 128

struct uring_features_text {
    char s[URING_FEATURES_TEXT_BYTES];
};

/* The names of a set, with commas; "none" if it is empty. */
struct uring_features_text uring_features_format(uint64_t set);

/*
 * For a reader who wants to know what is missing: "all", "none", or what a reactor of this set does
 * without, each with a minus.  coop-taskrun is not missed beside defer-taskrun, which replaces it.
 */
struct uring_features_text uring_features_format_short(uint64_t set);

#endif

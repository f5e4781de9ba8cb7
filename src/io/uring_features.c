/* SPDX-License-Identifier: Apache-2.0 */
#include "io/uring_features.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/span.h"

struct feature {
    const char *name;
    uint64_t bit;
    unsigned major, minor; /* The first kernel that has it. */
};

static const struct feature features[] = {
    { "files", URING_FEATURE_FILES, 5, 1 },
    { "ring-fd", URING_FEATURE_RING_FD, 5, 18 },
    { "coop-taskrun", URING_FEATURE_COOP_TASKRUN, 5, 19 },
    { "buffers", URING_FEATURE_BUFFERS, 5, 19 },
    { "poll-first", URING_FEATURE_POLL_FIRST, 5, 19 },
    { "defer-taskrun", URING_FEATURE_DEFER_TASKRUN, 6, 1 },
    { "dio-align", URING_FEATURE_DIO_ALIGN, 6, 1 },
    { "write-atomic", URING_FEATURE_WRITE_ATOMIC, 6, 11 },
    { "block-discard", URING_FEATURE_BLOCK_DISCARD, 6, 12 },
};

static_assert(ARRAY_COUNT(features) == URING_FEATURES_COUNT, "the header counts them");

/* A version: what kernels up to it have. */
static bool features_of_version(const char *word, uint64_t *out_set)
{
    uint64_t set = 0;
    char *end;

    if (strspn(word, "0123456789.") != strlen(word) || word[0] == '.')
        return false;
    const unsigned long major = strtoul(word, &end, 10);
    if (end[0] != '.' || end[1] == '\0' || strchr(end + 1, '.') != NULL)
        return false;
    const unsigned long minor = strtoul(end + 1, NULL, 10);
    for (size_t i = 0; i < ARRAY_COUNT(features); i++) {
        const struct feature *const f = &features[i];
        if (f->major < major || (f->major == major && f->minor <= minor))
            set |= f->bit;
    }
    *out_set = set;
    return true;
}

/* One word without its minus. */
static bool features_of_word(const char *word, uint64_t *out_set)
{
    if (strcmp(word, "all") == 0 || strcmp(word, "none") == 0) {
        *out_set = word[0] == 'a' ? URING_FEATURES_ALL : 0;
        return true;
    }
    for (size_t i = 0; i < ARRAY_COUNT(features); i++) {
        if (strcmp(word, features[i].name) == 0) {
            *out_set = features[i].bit;
            return true;
        }
    }
    return features_of_version(word, out_set);
}

struct status uring_features_parse(const char *list, uint64_t *out_features)
{
    uint64_t set = list[0] == '-' ? URING_FEATURES_ALL : 0;
    const char *at = list;

    for (;;) {
        char word[32];
        uint64_t named;
        const size_t bytes = strcspn(at, ",");
        const bool less = at[0] == '-';
        if (bytes >= sizeof word)
            return STATUS(INVALID);
        memcpy(word, at, bytes);
        word[bytes] = '\0';
        if (!features_of_word(word + less, &named))
            return STATUS(INVALID);
        set = less ? set & ~named : set | named;
        if (at[bytes] == '\0')
            break;
        at += bytes + 1;
    }
    *out_features = set;
    return STATUS(OK);
}

unsigned uring_features_names(uint64_t set, const char *out_names[URING_FEATURES_COUNT])
{
    unsigned count = 0;

    for (size_t i = 0; i < ARRAY_COUNT(features); i++)
        if ((set & features[i].bit) != 0)
            out_names[count++] = features[i].name;
    return count;
}

/* The names of a set with commas, each behind the prefix; "" if it is empty. */
static struct uring_features_text join(uint64_t set, const char *prefix)
{
    const char *names[URING_FEATURES_COUNT];
    const unsigned count = uring_features_names(set, names);
    struct uring_features_text text = { "" };
    size_t used = 0;

    for (unsigned i = 0; i < count; i++) {
        const int bytes = snprintf(text.s + used, sizeof text.s - used, "%s%s%s", i > 0 ? "," : "",
                                   prefix, names[i]);
        assert(bytes > 0);
        used += (size_t)bytes;
        assert(used < sizeof text.s);
    }
    return text;
}

struct uring_features_text uring_features_format(uint64_t set)
{
    return set == 0 ? (struct uring_features_text) { "none" } : join(set, "");
}

struct uring_features_text uring_features_format_short(uint64_t set)
{
    uint64_t missing = URING_FEATURES_ALL & ~set;

    if ((set & URING_FEATURE_DEFER_TASKRUN) != 0)
        missing &= ~URING_FEATURE_COOP_TASKRUN;
    if (set == 0)
        return (struct uring_features_text) { "none" };
    return missing == 0 ? (struct uring_features_text) { "all" } : join(missing, "-");
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "nvme/nqn.h"

#include <stddef.h>
#include <string.h>

_Static_assert(sizeof NQN_VOLUME_PREFIX - 1 + VOLUME_NAME_BYTES_MAX <= NQN_BYTES_MAX,
               "every volume name must fit into an NQN");

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_lower_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || is_digit(c);
}

/* "nqn.2026-01.x": four digits, a month, and at least one character of domain. */
static bool has_nqn_head(const char *text)
{
    static const char shape[] = "nqn.dddd-dd.";

    for (size_t i = 0; shape[i] != '\0'; i++) {
        const bool fits = shape[i] == 'd' ? is_digit(text[i]) : text[i] == shape[i];
        if (!fits)
            return false;
    }
    return text[sizeof shape - 1] != '\0';
}

bool nqn_is_valid(const char *text)
{
    const size_t bytes = strnlen(text, NQN_TEXT_BYTES);

    if (bytes > NQN_BYTES_MAX || !has_nqn_head(text))
        return false;
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] <= ' ' || text[i] > '~')
            return false;
    }
    return true;
}

bool volume_name_is_valid(const char *name)
{
    const size_t bytes = strnlen(name, VOLUME_NAME_BYTES_MAX + 1);

    if (bytes == 0 || bytes > VOLUME_NAME_BYTES_MAX || !is_lower_or_digit(name[0]))
        return false;
    for (size_t i = 0; i < bytes; i++) {
        if (!is_lower_or_digit(name[i]) && name[i] != '.' && name[i] != '-')
            return false;
    }
    return true;
}

struct status nqn_for_volume(const char *name, struct nqn_text *out_nqn)
{
    const size_t prefix_bytes = sizeof NQN_VOLUME_PREFIX - 1;

    if (!volume_name_is_valid(name))
        return STATUS(INVALID);
    memset(out_nqn, 0, sizeof *out_nqn);
    memcpy(out_nqn->s, NQN_VOLUME_PREFIX, prefix_bytes);
    memcpy(out_nqn->s + prefix_bytes, name, strlen(name));
    return STATUS(OK);
}

struct status nqn_parse_volume(const char *nqn, struct volume_name *out_name)
{
    const size_t prefix_bytes = sizeof NQN_VOLUME_PREFIX - 1;

    if (strncmp(nqn, NQN_VOLUME_PREFIX, prefix_bytes) != 0)
        return STATUS(NOT_FOUND);
    const char *name = nqn + prefix_bytes;
    if (!volume_name_is_valid(name))
        return STATUS(NOT_FOUND);
    memset(out_name, 0, sizeof *out_name);
    memcpy(out_name->s, name, strlen(name));
    return STATUS(OK);
}

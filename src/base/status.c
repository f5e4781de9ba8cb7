/* SPDX-License-Identifier: Apache-2.0 */
#include "base/status.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>

struct status_row {
    const char *name;
    const char *text;
    int err;
    uint16_t nvme;
    bool retryable;
};

static const struct status_row status_rows[] = {
#define STATUS_ROW(n, e, v, r, t) \
    [STATUS_##n] = { .name = #n, .text = (t), .err = (e), .nvme = (v), .retryable = (r) },
    STATUS_TABLE(STATUS_ROW)
#undef STATUS_ROW
};

static const struct status_row *status_row(struct status st)
{
    assert((unsigned)st.code < STATUS_COUNT);
    return &status_rows[st.code];
}

const char *status_name(struct status st)
{
    return status_row(st)->name;
}

const char *status_text(struct status st)
{
    return status_row(st)->text;
}

int status_errno(struct status st)
{
    return status_row(st)->err;
}

uint16_t status_nvme(struct status st)
{
    return status_row(st)->nvme;
}

bool status_retryable(struct status st)
{
    return status_row(st)->retryable;
}

/* What the operating system returns under several names, or means otherwise than the table. */
static struct status status_from_errno_alias(int err)
{
    switch (err) {
    case EPIPE:
    case ECONNABORTED:
    case ENOTCONN:
        return STATUS(PEER_CLOSED);
    case EAGAIN:
    case EINTR:
    case EADDRINUSE:
        return STATUS(BUSY);
    case EPERM:
        return STATUS(DENIED);
    case ENETUNREACH:
        return STATUS(UNAVAILABLE);
    case EDQUOT:
        return STATUS(NO_SPACE);
    case EILSEQ:
    case ENODATA:
        return STATUS(MEDIA_READ);
    default:
        return STATUS(IO);
    }
}

struct status status_from_errno(int err)
{
    assert(err >= 0);
    if (err == 0)
        return STATUS(OK);
    if (err == EAGAIN || err == EPERM)
        return status_from_errno_alias(err);
    for (size_t i = 0; i < sizeof status_rows / sizeof status_rows[0]; i++)
        if (status_rows[i].err == err)
            return (struct status) { .code = (enum status_code)i };
    return status_from_errno_alias(err);
}

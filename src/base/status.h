/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one way a function says whether it worked.
 *
 * Threading: pure.   Memory: values, no allocation.
 */
#ifndef BASE_STATUS_H
#define BASE_STATUS_H

#include <stdbool.h>
#include <stdint.h>

/*
 * X(name, errno, nvme, retryable, text).  Append only: the numbers reach logs and the wire.
 *
 * nvme is the status that a host is told, SCT << 8 | SC (NVM Express Base Specification 2.0,
 * "Status Code"); the target adds Do Not Retry for what is not retryable.
 */
#define STATUS_TABLE(X)                                                                      \
    X(OK, 0, 0x000, false, "success")                                                        \
    X(CANCELED, ECANCELED, 0x007, true, "operation canceled")                                \
    X(PEER_CLOSED, ECONNRESET, 0x006, true, "peer closed the connection")                    \
    X(TRUNCATED, EPROTO, 0x006, false, "ended in the middle")                                \
    X(BAD_PDU, EPROTO, 0x006, false, "malformed PDU")                                        \
    X(BAD_DIGEST, EBADMSG, 0x022, true, "digest mismatch")                                   \
    X(IO, EIO, 0x006, false, "I/O error")                                                    \
    X(NO_MEMORY, ENOMEM, 0x006, true, "out of memory")                                       \
    X(TIMED_OUT, ETIMEDOUT, 0x300, true, "timed out")                                        \
    X(INVALID, EINVAL, 0x002, false, "invalid argument")                                     \
    X(NOT_FOUND, ENOENT, 0x006, false, "not found")                                          \
    X(EXISTS, EEXIST, 0x006, false, "already exists")                                        \
    X(BUSY, EBUSY, 0x006, true, "busy")                                                      \
    X(NO_SPACE, ENOSPC, 0x081, false, "no space left")                                       \
    X(OUT_OF_RANGE, ERANGE, 0x080, false, "out of range")                                    \
    X(MEDIA_READ, EILSEQ, 0x281, false, "unrecovered read error")                            \
    X(MEDIA_WRITE, EIO, 0x280, false, "write fault")                                         \
    X(UNKNOWN_SHARD, ENOENT, 0x006, false, "unknown shard")                                  \
    X(STALE_EPOCH, ESTALE, 0x006, false, "stale epoch or session")                           \
    X(STALE_INCARNATION, ESTALE, 0x280, false, "the disk's incarnation has changed")         \
    X(DENIED, EACCES, 0x286, false, "access denied")                                         \
    X(CORRUPT, EUCLEAN, 0x006, false, "damaged structure")                                   \
    X(BAD_VERSION, EPROTONOSUPPORT, 0x006, false, "unsupported version")                     \
    X(FOREIGN, EPERM, 0x006, false, "belongs to something else")                             \
    X(CONFLICT, EAGAIN, 0x006, true, "changed by somebody else")                             \
    X(UNAVAILABLE, EHOSTUNREACH, 0x006, true, "unavailable")                                 \
    X(UNSUPPORTED, EOPNOTSUPP, 0x001, false, "not supported")                                \
    X(LIMIT, E2BIG, 0x002, false, "over the limit")                                          \
    X(REFUSED, ECONNREFUSED, 0x006, true, "connection refused")                              \
    X(SHUTTING_DOWN, ESHUTDOWN, 0x006, true, "shutting down")                                \
    X(LOST, ECONNRESET, 0x006, true, "connection lost, and with it whether it was executed") \
    X(MISCOMPARE, EBADE, 0x285, false, "the data differ")                                    \
    X(LIST_FULL, EAGAIN, 0x006, true, "too many open regions")                               \
    X(STALE_SESSION, ESTALE, 0x006, false, "stale session")                                  \
    X(WRONG_GENERATION, ESTALE, 0x006, false, "wrong generation")                            \
    X(OVERTAKEN, ECANCELED, 0x006, false, "overtaken by a newer session")                    \
    X(MALFORMED, EPROTO, 0x002, false, "malformed command")                                  \
    X(FENCED, ESTALE, 0x302, true, "another node serves it")                                 \
    X(POINT_LOST, ESTALE, 0x006, false, "the disk has lost what it had confirmed")           \
    X(UNKNOWN_VOLUME, ENOENT, 0x006, false, "the disk does not know the volume")

enum status_code {
#define STATUS_ENUM(name, err, nvme, retry, text) STATUS_##name,
    STATUS_TABLE(STATUS_ENUM)
#undef STATUS_ENUM
        STATUS_COUNT
};

/* A struct, so that no int, bool or errno can be returned or tested by mistake. */
struct status {
    enum status_code code;
};

#define STATUS(name) ((struct status) { .code = STATUS_##name })
#define MUST_CHECK   __attribute__((warn_unused_result))

static inline bool status_ok(struct status st)
{
    return st.code == STATUS_OK;
}

static inline bool status_is(struct status st, enum status_code code)
{
    return st.code == code;
}

/* The symbol, such as "NO_SPACE"; for logs and traces. */
const char *status_name(struct status st);

/* The text for people, such as "no space left". */
const char *status_text(struct status st);

/* The errno that stands for the status at an API that speaks errno; 0 for OK. */
int status_errno(struct status st);

/* SCT << 8 | SC of the NVMe status that a host is told; 0 for OK. */
uint16_t status_nvme(struct status st);

/* Whether the same request may succeed if it is sent again later, without any change. */
bool status_retryable(struct status st);

/* The status for an errno of the operating system (positive); IO for those not named above. */
struct status status_from_errno(int err);

/* The only macro in the tree that returns from its caller. */
#define TRY(expr)                            \
    do {                                     \
        const struct status try_st = (expr); \
        if (!status_ok(try_st))              \
            return try_st;                   \
    } while (0)

#endif

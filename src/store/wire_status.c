/* SPDX-License-Identifier: Apache-2.0 */
/* Statuses on the wire: docs/replication.md, section 2.4. */
#include "nvme/cmd_spec.h"
#include "nvme/initiator_queue.h"
#include "store/wire.h"

#define VENDOR 0x700

struct row {
    enum status_code status;
    uint16_t sc;
};

/* What NVMe has no word for, and after that what it has one for. */
static const struct row rows[] = {
    { STATUS_STALE_EPOCH, VENDOR | 0x01 },
    { STATUS_STALE_SESSION, VENDOR | 0x02 },
    { STATUS_STALE_INCARNATION, VENDOR | 0x03 },
    { STATUS_WRONG_GENERATION, VENDOR | 0x04 },
    { STATUS_UNKNOWN_SHARD, VENDOR | 0x05 },
    { STATUS_BAD_DIGEST, VENDOR | 0x06 },
    { STATUS_FOREIGN, VENDOR | 0x07 },
    { STATUS_OVERTAKEN, VENDOR | 0x08 },
    { STATUS_LIST_FULL, VENDOR | 0x09 },
    { STATUS_MALFORMED, VENDOR | 0x0a },
    { STATUS_BAD_VERSION, VENDOR | 0x0b },
    { STATUS_POINT_LOST, VENDOR | 0x0c },
    { STATUS_UNKNOWN_VOLUME, VENDOR | 0x0d },
    { STATUS_NO_SPACE, NVME_SC_CAPACITY },
    { STATUS_MEDIA_READ, NVME_SC_READ_ERROR },
    { STATUS_MEDIA_WRITE, NVME_SC_WRITE_FAULT },
    { STATUS_OUT_OF_RANGE, NVME_SC_LBA_RANGE },
    { STATUS_INVALID, NVME_SC_INVALID_FIELD },
    { STATUS_UNSUPPORTED, NVME_SC_INVALID_OPCODE },
    { STATUS_CANCELED, NVME_SC_ABORT_REQUESTED },
    { STATUS_UNAVAILABLE, NVME_SC_NS_NOT_READY },
    { STATUS_SHUTTING_DOWN, NVME_SC_NS_NOT_READY },
};

uint16_t wire_status_encode(struct status st)
{
    if (status_ok(st))
        return NVME_SC_SUCCESS;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        if (rows[i].status == st.code)
            return rows[i].sc;
    }
    return NVME_SC_INTERNAL;
}

struct status wire_status_decode(uint16_t sc)
{
    const uint16_t value = sc & NVME_SC_VALUE_MASK;

    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        if (rows[i].sc == value)
            return (struct status) { .code = rows[i].status };
    }
    return initiator_status_from_nvme(value);
}

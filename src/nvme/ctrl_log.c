/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Get Log Page.
 *
 * NVM Express Base Specification 2.0c, "Get Log Page command".
 */
#include <assert.h>

#include "nvme/log_spec.h"
#include "nvme/target_internal.h"

#define LOG_PAGE_BYTES_MAX 4096 /* But for discovery, which writes its own part. */

/* One log page: its bytes at out, zeroed before.  Returns its length. */
typedef size_t log_writer(const struct nvme_ctrl *ctrl, uint8_t *out);

static const uint8_t io_pages[] = { NVME_LOG_SUPPORTED, NVME_LOG_ERROR,      NVME_LOG_SMART,
                                    NVME_LOG_FIRMWARE,  NVME_LOG_CHANGED_NS, NVME_LOG_EFFECTS,
                                    NVME_LOG_FEATURES };
static const uint8_t discovery_pages[] = { NVME_LOG_SUPPORTED, NVME_LOG_ERROR, NVME_LOG_DISCOVERY };

static size_t write_supported(const struct nvme_ctrl *ctrl, uint8_t *out)
{
    const bool discovery = ctrl_is_discovery(ctrl);
    const uint8_t *pages = discovery ? discovery_pages : io_pages;
    const size_t count = discovery ? sizeof discovery_pages : sizeof io_pages;
    struct nvme_log_supported_spec log = { 0 };

    for (size_t i = 0; i < count; i++)
        log.lid[pages[i]] = le32_make(1);
    memcpy(out, &log, sizeof log);
    return sizeof log;
}

static size_t write_firmware(const struct nvme_ctrl *ctrl, uint8_t *out)
{
    struct nvme_log_firmware_spec log = { .afi = 1 };

    (void)ctrl;
    memset(log.revision[0], ' ', sizeof log.revision[0]);
    memcpy(log.revision[0], NVME_TARGET_FIRMWARE, strlen(NVME_TARGET_FIRMWARE));
    memcpy(out, &log, sizeof log);
    return sizeof log;
}

static size_t write_changed_ns(const struct nvme_ctrl *ctrl, uint8_t *out)
{
    struct nvme_log_changed_ns_spec log = { 0 };

    if (ctrl->ns_changed)
        log.nsid[0] = le32_make(NVME_TARGET_NSID);
    memcpy(out, &log, sizeof log);
    return sizeof log;
}

static void put_nvm_effects(struct nvme_log_effects_spec *log)
{
    static const uint8_t changing[] = { NVME_IO_WRITE, NVME_IO_WRITE_ZEROES, NVME_IO_DSM,
                                        NVME_IO_COPY };

    for (size_t i = 0; i < sizeof changing; i++)
        log->io[changing[i]] = le32_make(NVME_EFFECT_SUPPORTED | NVME_EFFECT_DATA_CHANGES);
    log->io[NVME_IO_FLUSH] = le32_make(NVME_EFFECT_SUPPORTED);
    log->io[NVME_IO_READ] = le32_make(NVME_EFFECT_SUPPORTED);
    log->io[NVME_IO_COMPARE] = le32_make(NVME_EFFECT_SUPPORTED);
    log->io[NVME_IO_VERIFY] = le32_make(NVME_EFFECT_SUPPORTED);
}

/* There is no namespace whose data could change. */
static void put_vendor_effects(const struct nvme_vendor *vendor, struct nvme_log_effects_spec *log)
{
    for (unsigned opcode = NVME_VENDOR_OPCODE_MIN; opcode <= UINT8_MAX; opcode++) {
        if (nvme_vendor_has(vendor, (uint8_t)opcode))
            log->io[opcode] = le32_make(NVME_EFFECT_SUPPORTED);
    }
}

static size_t write_effects(const struct nvme_ctrl *ctrl, uint8_t *out)
{
    static const uint8_t admin[] = { NVME_ADMIN_GET_LOG_PAGE, NVME_ADMIN_IDENTIFY,
                                     NVME_ADMIN_ABORT,        NVME_ADMIN_SET_FEATURES,
                                     NVME_ADMIN_GET_FEATURES, NVME_ADMIN_ASYNC_EVENT,
                                     NVME_ADMIN_KEEP_ALIVE };
    struct nvme_log_effects_spec log = { 0 };

    for (size_t i = 0; i < sizeof admin; i++)
        log.admin[admin[i]] = le32_make(NVME_EFFECT_SUPPORTED);
    if (subsys_is_vendor(ctrl->subsys))
        put_vendor_effects(ctrl->subsys->vendor, &log);
    else
        put_nvm_effects(&log);
    memcpy(out, &log, sizeof log);
    return sizeof log;
}

static size_t write_features(const struct nvme_ctrl *ctrl, uint8_t *out)
{
    static const uint8_t features[] = {
        NVME_FEAT_ARBITRATION,     NVME_FEAT_POWER_MANAGEMENT, NVME_FEAT_TEMPERATURE,
        NVME_FEAT_ERROR_RECOVERY,  NVME_FEAT_VOLATILE_CACHE,   NVME_FEAT_QUEUES,
        NVME_FEAT_WRITE_ATOMICITY, NVME_FEAT_ASYNC_EVENT,      NVME_FEAT_KEEP_ALIVE,
        NVME_FEAT_TIMESTAMP,       NVME_FEAT_HOST_BEHAVIOR,    NVME_FEAT_HOST_ID,
    };
    struct nvme_log_features_spec log = { 0 };

    (void)ctrl;
    for (size_t i = 0; i < sizeof features; i++)
        log.fid[features[i]] = le32_make(NVME_FID_SUPPORTED | NVME_FID_SCOPE_CTRL);
    memcpy(out, &log, sizeof log);
    return sizeof log;
}

/* The page's writer if this controller has the page, else NULL. */
static log_writer *find_writer(const struct nvme_ctrl *ctrl, uint8_t page)
{
    if (page == NVME_LOG_SUPPORTED)
        return write_supported;
    if (page == NVME_LOG_ERROR)
        return ctrl_write_errors;
    if (ctrl_is_discovery(ctrl))
        return NULL;
    switch (page) {
    case NVME_LOG_SMART:
        return ctrl_write_smart;
    case NVME_LOG_FIRMWARE:
        return write_firmware;
    case NVME_LOG_CHANGED_NS:
        return write_changed_ns;
    case NVME_LOG_EFFECTS:
        return write_effects;
    case NVME_LOG_FEATURES:
        return write_features;
    default:
        return NULL;
    }
}

/* Reading a page without Retain Asynchronous Event ends the event that points at it. */
static void page_was_read(struct nvme_ctrl *ctrl, const struct nvme_sqe *sqe)
{
    const uint8_t page = (uint8_t)(sqe->cdw10 & NVME_LOG_CDW10_LID_MASK);

    if ((sqe->cdw10 & NVME_LOG_CDW10_RAE) != 0)
        return;
    if (page == NVME_LOG_CHANGED_NS) {
        ctrl->ns_changed = false;
        ctrl_event_clear(ctrl, NVME_AEN_NS_CHANGED);
    } else if (page == NVME_LOG_DISCOVERY) {
        ctrl_event_clear(ctrl, NVME_AEN_DISCOVERY_CHANGED);
    }
}

/* SMART / Health is the controller's, with NSID 0 or FFFFFFFFh: LPA bit 0 is clear. */
static bool names_one_ns(const struct nvme_sqe *sqe)
{
    return (uint8_t)sqe->cdw10 == NVME_LOG_SMART && sqe->nsid != 0 && sqe->nsid != NVME_NSID_ALL;
}

/* The part of a page that was asked for; past its end there are zeros. */
static uint16_t write_part(const struct nvme_ctrl *ctrl, const struct nvme_cmd *cmd,
                           uint64_t offset, struct span out)
{
    const uint8_t page = (uint8_t)(cmd->sqe.cdw10 & NVME_LOG_CDW10_LID_MASK);
    uint8_t whole[LOG_PAGE_BYTES_MAX] = { 0 };

    memset(out.at, 0, out.bytes);
    if (page == NVME_LOG_DISCOVERY && ctrl_is_discovery(ctrl)) {
        if (offset > discovery_log_bytes(ctrl))
            return NVME_SC_DNR | NVME_SC_INVALID_FIELD;
        discovery_log_read(ctrl, cmd->conn, offset, out);
        return 0;
    }
    log_writer *writer = find_writer(ctrl, page);
    if (writer == NULL)
        return NVME_SC_DNR | NVME_SC_INVALID_LOG_PAGE;
    if (names_one_ns(&cmd->sqe))
        return NVME_SC_DNR | NVME_SC_INVALID_FIELD;
    const size_t bytes = writer(ctrl, whole);
    assert(bytes <= sizeof whole);
    if (offset > bytes)
        return NVME_SC_DNR | NVME_SC_INVALID_FIELD;
    memcpy(out.at, whole + offset, min_u64(out.bytes, bytes - offset));
    return 0;
}

uint16_t ctrl_get_log_page(struct nvme_ctrl *ctrl, struct nvme_cmd *cmd)
{
    const struct nvme_sqe *sqe = &cmd->sqe;
    const uint64_t dwords = ((uint64_t)(sqe->cdw11 & 0xffff) << 16 | sqe->cdw10 >> 16) + 1;
    const uint64_t offset = (uint64_t)sqe->cdw13 << 32 | sqe->cdw12;

    if (dwords * 4 > NVME_DATA_BYTES_MAX || offset % 4 != 0)
        return NVME_SC_DNR | NVME_SC_INVALID_FIELD;
    if (cmd->data.bytes < dwords * 4)
        return NVME_SC_DNR | NVME_SC_SGL_DATA_LENGTH;

    const uint16_t status = write_part(ctrl, cmd, offset, span_sub(cmd->data, 0, dwords * 4));
    if (status == 0) {
        cmd->reply_bytes = (uint32_t)(dwords * 4);
        page_was_read(ctrl, sqe);
    }
    return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log pages as they lie on the wire.  The discovery log is in fabrics_spec.h.
 *
 * NVM Express Base Specification 2.0c, "Get Log Page command".
 *
 * Threading: values.   Memory: values; only the codecs look inside.
 */
#ifndef NVME_LOG_SPEC_H
#define NVME_LOG_SPEC_H

#include <stdint.h>

#include "base/le.h"
#include "nvme/layout.h"

enum nvme_log_page {
    NVME_LOG_SUPPORTED = 0x00,
    NVME_LOG_ERROR = 0x01,
    NVME_LOG_SMART = 0x02,
    NVME_LOG_FIRMWARE = 0x03,
    NVME_LOG_CHANGED_NS = 0x04,
    NVME_LOG_EFFECTS = 0x05,
    NVME_LOG_FEATURES = 0x12, /* Feature Identifiers Supported and Effects. */
    NVME_LOG_DISCOVERY = 0x70,
};

/* Get Log Page: CDW10 LID 7:0, LSP 14:8, RAE 15, NUMDL 31:16; CDW11 NUMDU 15:0. */
#define NVME_LOG_CDW10_LID_MASK UINT32_C(0xff)
#define NVME_LOG_CDW10_RAE      (UINT32_C(1) << 15)

struct nvme_log_supported_spec {
    struct le32 lid[256]; /* Bit 0: supported. */
};
LAYOUT_SIZE(nvme_log_supported_spec, 1024);

struct nvme_log_error_spec {
    struct le64 count;
    struct le16 sqid;
    struct le16 cid;
    struct le16 status;
    struct le16 location;
    struct le64 lba;
    struct le32 nsid;
    uint8_t vendor;
    uint8_t trtype;
    uint8_t reserved30[2];
    struct le64 command_specific;
    struct le16 transport_specific;
    uint8_t reserved42[22];
};
LAYOUT_SIZE(nvme_log_error_spec, 64);
LAYOUT_AT(nvme_log_error_spec, lba, 16);
LAYOUT_AT(nvme_log_error_spec, command_specific, 32);

/* The 16-byte counters use their low half only. */
struct nvme_log_counter_spec {
    struct le64 low;
    struct le64 high;
};

struct nvme_log_smart_spec {
    uint8_t critical_warning;
    struct le16 temperature_k;
    uint8_t spare_percent;
    uint8_t spare_threshold_percent;
    uint8_t used_percent;
    uint8_t endurance_warning;
    uint8_t reserved7[25];
    struct nvme_log_counter_spec data_units_read; /* Thousands of 512 bytes. */
    struct nvme_log_counter_spec data_units_written;
    struct nvme_log_counter_spec host_reads;
    struct nvme_log_counter_spec host_writes;
    struct nvme_log_counter_spec busy_minutes;
    struct nvme_log_counter_spec power_cycles;
    struct nvme_log_counter_spec power_on_hours;
    struct nvme_log_counter_spec unsafe_shutdowns;
    struct nvme_log_counter_spec media_errors;
    struct nvme_log_counter_spec error_entries;
    struct le32 warning_minutes;
    struct le32 critical_minutes;
    struct le16 sensor_k[8];
    uint8_t reserved216[296];
};
LAYOUT_SIZE(nvme_log_smart_spec, 512);
LAYOUT_AT(nvme_log_smart_spec, temperature_k, 1);
LAYOUT_AT(nvme_log_smart_spec, data_units_read, 32);
LAYOUT_AT(nvme_log_smart_spec, error_entries, 176);
LAYOUT_AT(nvme_log_smart_spec, sensor_k, 200);

struct nvme_log_firmware_spec {
    uint8_t afi; /* Bits 2:0: the active slot. */
    uint8_t reserved1[7];
    char revision[7][8];
    uint8_t reserved64[448];
};
LAYOUT_SIZE(nvme_log_firmware_spec, 512);
LAYOUT_AT(nvme_log_firmware_spec, revision, 8);

struct nvme_log_changed_ns_spec {
    struct le32 nsid[1024];
};
LAYOUT_SIZE(nvme_log_changed_ns_spec, 4096);

struct nvme_log_effects_spec {
    struct le32 admin[256];
    struct le32 io[256];
    uint8_t reserved2048[2048];
};
LAYOUT_SIZE(nvme_log_effects_spec, 4096);
LAYOUT_AT(nvme_log_effects_spec, io, 1024);

#define NVME_EFFECT_SUPPORTED    UINT32_C(1)
#define NVME_EFFECT_DATA_CHANGES UINT32_C(2) /* LBCC. */

struct nvme_log_features_spec {
    struct le32 fid[256];
};
LAYOUT_SIZE(nvme_log_features_spec, 1024);

#define NVME_FID_SUPPORTED  UINT32_C(1)
#define NVME_FID_SCOPE_CTRL (UINT32_C(1) << 21) /* FSP: the feature's scope is the controller. */

#endif

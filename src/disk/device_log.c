/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/device_log.h"

#include <assert.h>
#include <stdio.h>

void device_log_none(struct device_log *out_log, const char *why)
{
    *out_log = (struct device_log) { 0 };
    snprintf(out_log->summary, sizeof out_log->summary, "none: %s", why);
}

/* ---- NVMe ---- */

#define NVME_WARN_SPARE       0x01u
#define NVME_WARN_TEMPERATURE 0x02u
#define NVME_WARN_RELIABILITY 0x04u
#define NVME_WARN_READ_ONLY   0x08u
#define NVME_WARN_BACKUP      0x10u
#define NVME_WARN_PERSISTENT  0x20u

#define KELVIN                273

static uint64_t le_at(const uint8_t *at, unsigned bytes)
{
    uint64_t value = 0;

    while (bytes-- > 0)
        value = value << 8 | at[bytes];
    return value;
}

/* Counters have 16 bytes: what does not fit in eight is the most that does. */
static uint64_t counter_at(const uint8_t *at)
{
    return le_at(at + 8, 8) != 0 ? UINT64_MAX : le_at(at, 8);
}

static void nvme_warn(uint8_t warning, unsigned used, unsigned spare, struct device_log *log)
{
    if ((warning & NVME_WARN_READ_ONLY) != 0)
        snprintf(log->failing, sizeof log->failing, "the device says that it can only be read");
    else if ((warning & NVME_WARN_RELIABILITY) != 0)
        snprintf(log->failing, sizeof log->failing,
                 "the device says that its medium is no longer reliable");
    else if ((warning & NVME_WARN_SPARE) != 0)
        snprintf(log->failing, sizeof log->failing,
                 "the device says that %u%% of its spare space are left, which is too little",
                 spare);
    if ((warning & NVME_WARN_BACKUP) != 0)
        snprintf(log->suspect, sizeof log->suspect,
                 "the device says that its cache is no longer safe from power loss");
    else if ((warning & NVME_WARN_PERSISTENT) != 0)
        snprintf(log->suspect, sizeof log->suspect,
                 "the device says that its persistent memory is unreliable");
    else if ((warning & NVME_WARN_TEMPERATURE) != 0)
        snprintf(log->suspect, sizeof log->suspect,
                 "the device says that it is too hot, or too cold");
    else if (used >= 100)
        snprintf(log->suspect, sizeof log->suspect,
                 "the device has used up %u%% of the writes that it is made for", used);
}

void device_log_parse_nvme(struct const_span bytes, struct device_log *out_log)
{
    if (bytes.bytes < NVME_HEALTH_LOG_BYTES) {
        device_log_none(out_log, "the device gave too little");
        return;
    }
    const uint8_t *b = bytes.at;
    const int celsius = (int)le_at(b + 1, 2) - KELVIN;
    const unsigned spare = b[3];
    const unsigned used = b[5];
    *out_log = (struct device_log) { 0 };
    nvme_warn(b[0], used, spare, out_log);
    snprintf(out_log->summary, sizeof out_log->summary,
             "NVMe: %d C, spare %u%%, used %u%%, %llu h, %llu media errors", celsius, spare, used,
             (unsigned long long)counter_at(b + 128), (unsigned long long)counter_at(b + 160));
}

/* ---- SATA ---- */

#define ATA_ATTRIBUTES       30u
#define ATA_ATTRIBUTE_BYTES  12u
#define ATA_ATTRIBUTES_AT    2u

#define ATA_REALLOCATED      5u
#define ATA_HOURS            9u
#define ATA_TEMPERATURE      194u
#define ATA_PENDING          197u
#define ATA_UNCORRECTABLE    198u

#define ATA_REALLOCATED_MANY 100u

static_assert(ATA_ATTRIBUTES_AT + ATA_ATTRIBUTES * ATA_ATTRIBUTE_BYTES <= ATA_SMART_BYTES,
              "the attributes are within the data");

#define SENSE_FIXED       0x70u
#define SENSE_DESCRIPTORS 0x72u
#define SENSE_ATA_STATUS  0x09u
#define SENSE_BYTES_MIN   22u
/* "ATA pass-through information available", and not that the command is none. */
#define SENSE_KEY_RECOVERED   1u
#define SENSE_ATA_INFORMATION 0x1du

#define ATA_STANDBY           0x00u
#define ATA_STANDBY_Y         0x01u

/* The registers that we look at. */
struct ata_registers {
    uint8_t count, lba_mid, lba_high;
};

/* SAT-3: in a descriptor of their own, or, of fixed format, where other commands have others. */
static bool ata_registers(struct const_span sense, struct ata_registers *out)
{
    const uint8_t *s = sense.at;

    if (sense.bytes < SENSE_BYTES_MIN)
        return false;
    if ((s[0] & 0x7f) == SENSE_DESCRIPTORS && s[8] == SENSE_ATA_STATUS) {
        *out = (struct ata_registers) { s[13], s[17], s[19] };
        return true;
    }
    if ((s[0] & 0x7f) == SENSE_FIXED && (s[2] & 0xf) <= SENSE_KEY_RECOVERED && s[12] == 0 &&
        s[13] == SENSE_ATA_INFORMATION) {
        *out = (struct ata_registers) { s[6], s[10], s[11] };
        return true;
    }
    return false;
}

bool device_log_ata_sleeps(struct const_span sense)
{
    struct ata_registers r;

    return ata_registers(sense, &r) && (r.count == ATA_STANDBY || r.count == ATA_STANDBY_Y);
}

bool device_log_ata_exceeded(struct const_span sense)
{
    struct ata_registers r;

    return ata_registers(sense, &r) && r.lba_mid == 0xf4 && r.lba_high == 0x2c;
}

/* All bytes of the data are 0 together. */
static bool ata_sum_is_right(const uint8_t *b)
{
    uint8_t sum = 0;

    for (unsigned i = 0; i < ATA_SMART_BYTES; i++)
        sum = (uint8_t)(sum + b[i]);
    return sum == 0;
}

/* The lower 32 bits of an attribute's raw value; 0 if the disk has none of this number. */
static uint32_t ata_raw(const uint8_t *b, unsigned id)
{
    for (unsigned i = 0; i < ATA_ATTRIBUTES; i++) {
        const uint8_t *a = b + ATA_ATTRIBUTES_AT + i * ATA_ATTRIBUTE_BYTES;
        if (a[0] == id)
            return (uint32_t)le_at(a + 5, 4);
    }
    return 0;
}

static void ata_warn(const uint8_t *b, struct device_log *log)
{
    const uint32_t pending = ata_raw(b, ATA_PENDING);
    const uint32_t uncorrectable = ata_raw(b, ATA_UNCORRECTABLE);
    const uint32_t reallocated = ata_raw(b, ATA_REALLOCATED);

    if (pending > 0)
        snprintf(log->suspect, sizeof log->suspect,
                 "the disk says that %u sectors may not be readable", pending);
    else if (uncorrectable > 0)
        snprintf(log->suspect, sizeof log->suspect,
                 "the disk says that %u sectors could not be read", uncorrectable);
    else if (reallocated >= ATA_REALLOCATED_MANY)
        snprintf(log->suspect, sizeof log->suspect,
                 "the disk says that it has replaced %u bad sectors", reallocated);
}

void device_log_parse_ata(struct const_span bytes, bool exceeded, struct device_log *out_log)
{
    if (bytes.bytes < ATA_SMART_BYTES || !ata_sum_is_right(bytes.at)) {
        device_log_none(out_log, "the disk gave no valid SMART data");
    } else {
        const uint8_t *b = bytes.at;
        *out_log = (struct device_log) { 0 };
        ata_warn(b, out_log);
        snprintf(out_log->summary, sizeof out_log->summary,
                 "SMART: %u C, %u h, %u sectors replaced, %u pending, %u uncorrectable",
                 ata_raw(b, ATA_TEMPERATURE) & 0xff, ata_raw(b, ATA_HOURS),
                 ata_raw(b, ATA_REALLOCATED), ata_raw(b, ATA_PENDING),
                 ata_raw(b, ATA_UNCORRECTABLE));
    }
    if (exceeded)
        snprintf(out_log->failing, sizeof out_log->failing,
                 "the disk says that it is about to fail (a SMART threshold is exceeded)");
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a device says of its own health: NVMe's SMART/Health log, and a SATA disk's SMART data.
 *
 * NVM Express Base Specification 2.0, "SMART / Health Information (Log Page 02h)"; ATA/ATAPI
 * Command Set 3 (ACS-3), "SMART READ DATA" and "SMART RETURN STATUS"; the attributes in SMART data
 * are their makers', and the rules here use those that all agree on.
 *
 * Threading: pure.   Memory: the caller's.
 */
#ifndef DISK_DEVICE_LOG_H
#define DISK_DEVICE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

#define DEVICE_LOG_TEXT_BYTES 128

#define NVME_HEALTH_LOG_BYTES 512u
#define ATA_SMART_BYTES       512u

struct device_log {
    char summary[DEVICE_LOG_TEXT_BYTES]; /* For people: what it says, or why there is none. */
    char failing[DEVICE_LOG_TEXT_BYTES]; /* Why it will fail, as it says; empty: it does not. */
    char suspect[DEVICE_LOG_TEXT_BYTES]; /* What is wrong with it; empty: nothing. */
};

/* There is none, because of this. */
void device_log_none(struct device_log *out_log, const char *why);

/* Any bytes of any length; too few are a log that is none. */
void device_log_parse_nvme(struct const_span bytes, struct device_log *out_log);

/*
 * What the sense data of a command that asked for its registers says (SAT-3, "ATA Status Return
 * sense data descriptor"): of CHECK POWER MODE whether the disk has stopped rotating, and of SMART
 * RETURN STATUS whether a threshold is exceeded.  False if it is anything else.
 */
bool device_log_ata_sleeps(struct const_span sense);
bool device_log_ata_exceeded(struct const_span sense);

/* The same; exceeded: what SMART RETURN STATUS has said. */
void device_log_parse_ata(struct const_span bytes, bool exceeded, struct device_log *out_log);

#endif

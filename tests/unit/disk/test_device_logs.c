/* SPDX-License-Identifier: Apache-2.0 */
/* What is asked of devices, which a stand-in for ioctl() plays, and the thread that asks. */
#include "disk/device_logs.h"

#include <errno.h>
#include <linux/nvme_ioctl.h>
#include <scsi/sg.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include <cmocka.h>

#include "common/no_log.h"
#include "io/uring.h"

#define ANY_FD 100

enum ata_kind { ATA_READS, ATA_STATUS, ATA_MODE, ATA_KINDS };

/* The device: an errno for each way to ask, and what it says. */
static struct {
    int nvme_errno;
    int nvme_status;
    uint8_t nvme_page[NVME_HEALTH_LOG_BYTES];
    int ata_errno[ATA_KINDS];
    bool ata_broken;    /* The adapter: the command did not reach the disk. */
    uint8_t ata_result; /* Of SMART READ DATA: a SCSI status. */
    uint8_t power_mode; /* The count register of CHECK POWER MODE. */
    uint8_t lba_mid;    /* Of SMART RETURN STATUS: 4Fh, or F4h when a threshold is exceeded. */
    uint8_t lba_high;
    unsigned asked[ATA_KINDS];
} device;

static int play_nvme(struct nvme_passthru_cmd *cmd)
{
    assert_int_equal(cmd->opcode, 2);              /* Get Log Page ... */
    assert_int_equal(cmd->cdw10, 127u << 16 | 2u); /* ... 02h, 128 dwords ... */
    assert_int_equal(cmd->nsid, UINT32_MAX);       /* ... of the controller. */
    assert_int_equal(cmd->data_len, sizeof device.nvme_page);
    memcpy((void *)(uintptr_t)cmd->addr, device.nvme_page, sizeof device.nvme_page);
    return device.nvme_status;
}

/* SAT-3, "ATA Status Return sense data descriptor", in descriptor format sense data. */
static void tell_registers(uint8_t *sense, uint8_t count)
{
    sense[0] = 0x72;
    sense[7] = 14;
    sense[8] = 0x09;
    sense[9] = 12;
    sense[13] = count;
    sense[17] = device.lba_mid;
    sense[19] = device.lba_high;
}

static int play_ata(struct sg_io_hdr *hdr)
{
    const uint8_t *cdb = hdr->cmdp;

    assert_int_equal(hdr->cmd_len, 16);
    assert_int_equal(cdb[0], 0x85);
    const enum ata_kind kind = cdb[14] == 0xe5 ? ATA_MODE : cdb[4] == 0xd0 ? ATA_READS : ATA_STATUS;
    device.asked[kind]++;
    if (device.ata_errno[kind] != 0) {
        errno = device.ata_errno[kind];
        return -1;
    }
    hdr->host_status = device.ata_broken ? 7 : 0;
    if (kind == ATA_READS) {
        uint8_t *data = hdr->dxferp;
        assert_int_equal(hdr->dxfer_len, ATA_SMART_BYTES);
        memset(data, 0, ATA_SMART_BYTES);
        hdr->status = device.ata_result;
    } else {
        hdr->status = 2;
        tell_registers(hdr->sbp, device.power_mode);
    }
    return 0;
}

int __wrap_ioctl(int fd, unsigned long request, void *arg);
int __real_ioctl(int fd, unsigned long request, void *arg);

int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
    if (fd != ANY_FD)
        return __real_ioctl(fd, request, arg);
    if (request == SG_IO)
        return play_ata(arg);
    assert_int_equal(request, NVME_IOCTL_ADMIN_CMD);
    if (device.nvme_errno == 0)
        return play_nvme(arg);
    errno = device.nvme_errno;
    return -1;
}

static struct device_log found;

static int set_up(void **state)
{
    (void)state;
    memset(&device, 0, sizeof device);
    memset(&found, 0xff, sizeof found);
    device.power_mode = 0xff; /* It rotates. */
    device.lba_mid = 0x4f;
    device.lba_high = 0xc2;
    return 0;
}

static int set_up_ata(void **state)
{
    set_up(state);
    device.nvme_errno = ENOTTY;
    return 0;
}

static void nvme_is_asked_for_its_health(void **state)
{
    (void)state;
    device.nvme_page[0] = 1 << 2; /* Critical warning: reliability degraded. */
    assert_true(device_log_read_fd(ANY_FD, &found));
    assert_true(found.failing[0] != '\0');
    assert_int_equal(device.asked[ATA_MODE], 0);
}

static void nvme_that_does_not_answer(void **state)
{
    (void)state;
    device.nvme_status = 0x4002;
    assert_true(device_log_read_fd(ANY_FD, &found));
    assert_string_equal(found.summary, "none: the device refuses, with status 4002");
    device.nvme_errno = EACCES;
    assert_true(device_log_read_fd(ANY_FD, &found));
    assert_string_equal(found.summary, "none: the device cannot be asked: Permission denied");
    assert_string_equal(found.failing, "");
    assert_int_equal(device.asked[ATA_MODE], 0);
}

static void ata_is_asked_for_its_health(void **state)
{
    (void)state;
    assert_true(device_log_read_fd(ANY_FD, &found));
    assert_string_equal(found.failing, "");
    device.lba_mid = 0xf4;
    device.lba_high = 0x2c;
    assert_true(device_log_read_fd(ANY_FD, &found));
    assert_true(found.failing[0] != '\0');
}

/* A disk that sleeps is asked for nothing that would wake it. */
static void ata_is_not_woken(void **state)
{
    (void)state;
    device.power_mode = 0;
    assert_false(device_log_read_fd(ANY_FD, &found));
    assert_int_equal(device.asked[ATA_MODE], 1);
    assert_int_equal(device.asked[ATA_READS] + device.asked[ATA_STATUS], 0);
}

static void ata_that_does_not_answer(void **state)
{
    (void)state;
    device.ata_result = 2;
    assert_true(device_log_read_fd(ANY_FD, &found));
    assert_string_equal(found.summary, "none: the disk cannot be asked: Input/output error");
    device.ata_broken = true;
    assert_true(device_log_read_fd(ANY_FD, &found));
    assert_string_equal(found.summary, "none: the disk cannot be asked: Input/output error");
    assert_string_equal(found.failing, "");
}

/* Of a disk that does not tell whether a threshold is exceeded the data still count. */
static void ata_without_a_status(void **state)
{
    (void)state;
    device.lba_mid = 0xf4;
    device.lba_high = 0x2c;
    device.ata_errno[ATA_STATUS] = EIO;
    assert_true(device_log_read_fd(ANY_FD, &found));
    assert_string_equal(found.failing, "");
}

static void other_devices_have_none(void **state)
{
    (void)state;
    device.ata_errno[ATA_MODE] = EINVAL;
    assert_true(device_log_read_fd(ANY_FD, &found));
    assert_string_equal(found.summary, "none: it is no NVMe or SATA device");
}

static void what_is_no_device_has_none(void **state)
{
    (void)state;
    assert_true(device_log_read("mem:1G", &found));
    assert_string_equal(found.summary, "none: it is memory");
    assert_true(device_log_read("/proc/self/exe", &found));
    assert_string_equal(found.summary, "none: it is a file");
    assert_true(device_log_read("/nowhere/disk", &found));
    assert_string_equal(found.summary, "none: No such file or directory");
}

/* ---- The thread ---- */

#define QUESTIONS 3u

static struct log silent = { .level = LOG_LEVEL_ERROR, .sink = no_log };
static struct reactor *r;
static struct device_logs *logs;
static unsigned answers;
static unsigned stop_after; /* So many answers. */

static void end(struct io_msg *msg)
{
    (void)msg;
    reactor_stop(r);
}

/* An answer that is on its way by now is delivered before the end. */
static void stop(void)
{
    static struct io_msg msg = { .deliver = end };

    device_logs_stop(logs);
    logs = NULL;
    reactor_post(r, &msg);
}

static void on_found(void *ctx, struct uuid disk, const struct device_log *log)
{
    assert_ptr_equal(ctx, &answers);
    assert_non_null(log);
    assert_int_equal(disk.b[0], answers);
    assert_string_equal(log->summary, answers == 1 ? "none: it is a file" : "none: it is memory");
    if (++answers < stop_after)
        return;
    stop();
}

static void ask(struct io_msg *msg)
{
    (void)msg;
    for (uint8_t i = 0; i < QUESTIONS; i++) {
        const struct uuid disk = { { i } };
        assert_true(status_ok(device_logs_ask(logs, disk, i == 1 ? "/proc/self/exe" : "mem:1G")));
    }
    if (stop_after > 0)
        return;
    stop();
}

static void run_thread(unsigned stop)
{
    const struct uring_config config = { .log = &silent };
    struct io_msg msg = { .deliver = ask };

    answers = 0;
    stop_after = stop;
    assert_true(status_ok(uring_reactor_create(&config, &r)));
    assert_true(status_ok(device_logs_start(r, on_found, &answers, &logs)));
    reactor_post(r, &msg);
    reactor_run(r);
    reactor_destroy(r);
    assert_int_equal(answers, stop);
}

/* In the order of the questions, with their disks, on the reactor's thread. */
static void each_question_is_answered(void **state)
{
    (void)state;
    run_thread(QUESTIONS);
}

/* What is left at the end is freed, whoever has it then; nothing more is found. */
static void an_end_waits_for_no_answer(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 50; i++)
        run_thread(i % QUESTIONS);
    device_logs_stop(NULL);
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)
#define ATA(name)  cmocka_unit_test_setup(name, set_up_ata)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nvme_is_asked_for_its_health), TEST(nvme_that_does_not_answer),
        ATA(ata_is_asked_for_its_health),   ATA(ata_is_not_woken),
        ATA(ata_that_does_not_answer),      ATA(ata_without_a_status),
        ATA(other_devices_have_none),       TEST(what_is_no_device_has_none),
        TEST(each_question_is_answered),    TEST(an_end_waits_for_no_answer),
    };
    return cmocka_run_group_tests_name("device_logs", tests, NULL, NULL);
}

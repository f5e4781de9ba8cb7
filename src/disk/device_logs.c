/* SPDX-License-Identifier: Apache-2.0 */
/* The adapter for the kernel's ways to a device's own commands: NVMe and SCSI pass-through. */
#include "disk/device_logs.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/nvme_ioctl.h>
#include <pthread.h>
#include <scsi/sg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/list.h"

static void fd_close(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

/* ---- NVMe: Get Log Page ---- */

#define NVME_GET_LOG_PAGE   0x02u
#define NVME_LOG_HEALTH     0x02u
#define NVME_ALL_NAMESPACES 0xffffffffu

/* False: it is no NVMe device.  No time limit of ours: docs/health.md, section 2. */
static bool read_nvme(int fd, struct device_log *out_log)
{
    uint8_t page[NVME_HEALTH_LOG_BYTES] = { 0 };
    char text[64];
    struct nvme_passthru_cmd cmd = {
        .opcode = NVME_GET_LOG_PAGE,
        .nsid = NVME_ALL_NAMESPACES,
        .addr = (uintptr_t)page,
        .data_len = sizeof page,
        .cdw10 = NVME_LOG_HEALTH | (uint32_t)(sizeof page / 4 - 1) << 16,
    };

    const int result = ioctl(fd, NVME_IOCTL_ADMIN_CMD, &cmd);
    if (result < 0 && (errno == ENOTTY || errno == EINVAL))
        return false;
    if (result == 0) {
        device_log_parse_nvme((struct const_span) { page, sizeof page }, out_log);
        return true;
    }
    if (result < 0)
        snprintf(text, sizeof text, "the device cannot be asked: %s", strerror(errno));
    else
        snprintf(text, sizeof text, "the device refuses, with status %x", (unsigned)result);
    device_log_none(out_log, text);
    return true;
}

/* ---- SATA: ATA PASS-THROUGH (16), SCSI / ATA Translation 3 ---- */

#define ATA_PASS_THROUGH_16 0x85u
#define ATA_NO_DATA         (3u << 1)
#define ATA_PIO_IN          (4u << 1)
#define ATA_READ_BLOCKS     0x0eu /* From the device, as many blocks as the count says. */
#define ATA_TELL_REGISTERS  0x20u /* CK_COND: in the sense data. */
#define ATA_SMART           0xb0u
#define ATA_SMART_DATA      0xd0u
#define ATA_SMART_STATUS    0xdau
#define ATA_POWER_MODE      0xe5u

struct ata_command {
    uint8_t command;
    uint8_t feature;
    struct span data;  /* Empty: no data. */
    uint8_t sense[64]; /* Out. */
};

/* 0, or an errno: EIO if the device did not do it. */
static int ata_run(int fd, struct ata_command *c)
{
    const bool has_data = c->data.bytes > 0;
    uint8_t cdb[16] = {
        [0] = ATA_PASS_THROUGH_16,
        [1] = has_data ? ATA_PIO_IN : ATA_NO_DATA,
        [2] = has_data ? ATA_READ_BLOCKS : ATA_TELL_REGISTERS,
        [4] = c->feature,
        [6] = has_data ? 1 : 0,
        [10] = c->command == ATA_SMART ? 0x4f : 0, /* SMART's signature. */
        [12] = c->command == ATA_SMART ? 0xc2 : 0,
        [14] = c->command,
    };
    struct sg_io_hdr hdr = {
        .interface_id = 'S',
        .dxfer_direction = has_data ? SG_DXFER_FROM_DEV : SG_DXFER_NONE,
        .cmd_len = sizeof cdb,
        .cmdp = cdb,
        .dxfer_len = (unsigned)c->data.bytes,
        .dxferp = c->data.at,
        .mx_sb_len = sizeof c->sense,
        .sbp = c->sense,
        .timeout = 0, /* The kernel's own. */
    };

    memset(c->sense, 0, sizeof c->sense);
    if (ioctl(fd, SG_IO, &hdr) < 0)
        return errno;
    if (hdr.host_status != 0)
        return EIO;
    /* With registers asked for, a check condition is the answer. */
    return has_data && hdr.status != 0 ? EIO : 0;
}

/* False: the disk sleeps.  What cannot be asked has no log. */
static bool read_ata(int fd, struct device_log *out_log)
{
    uint8_t data[ATA_SMART_BYTES] = { 0 };
    struct ata_command mode = { .command = ATA_POWER_MODE };
    struct ata_command smart = { .command = ATA_SMART,
                                 .feature = ATA_SMART_DATA,
                                 .data = { data, sizeof data } };
    struct ata_command status = { .command = ATA_SMART, .feature = ATA_SMART_STATUS };
    char text[64];

    int err = ata_run(fd, &mode);
    if (err == 0 && device_log_ata_sleeps((struct const_span) { mode.sense, sizeof mode.sense }))
        return false;
    if (err == 0)
        err = ata_run(fd, &smart);
    if (err == ENOTTY || err == EINVAL) {
        device_log_none(out_log, "it is no NVMe or SATA device");
    } else if (err != 0) {
        snprintf(text, sizeof text, "the disk cannot be asked: %s", strerror(err));
        device_log_none(out_log, text);
    } else {
        const bool exceeded =
            ata_run(fd, &status) == 0 &&
            device_log_ata_exceeded((struct const_span) { status.sense, sizeof status.sense });
        device_log_parse_ata((struct const_span) { data, sizeof data }, exceeded, out_log);
    }
    return true;
}

/* ---- Either ---- */

bool device_log_read_fd(int fd, struct device_log *out_log)
{
    return read_nvme(fd, out_log) || read_ata(fd, out_log);
}

bool device_log_read(const char *path, struct device_log *out_log)
{
    struct stat st;

    if (path[0] != '/') {
        device_log_none(out_log, "it is memory");
        return true;
    }
    if (stat(path, &st) == 0 && !S_ISBLK(st.st_mode)) {
        device_log_none(out_log, "it is a file");
        return true;
    }
    CLEANUP(fd_close) const int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        device_log_none(out_log, strerror(errno));
        return true;
    }
    return device_log_read_fd(fd, out_log);
}

/* ---- The thread ---- */

struct question {
    struct list_node link;
    struct io_msg msg;
    struct device_logs *logs;
    struct uuid disk;
    char path[256];
    bool found;
    struct device_log log;
};

/*
 * The lock covers what both threads look at; it is held for a moment, and no other is taken
 * meanwhile but that of reactor_post().
 */
struct device_logs {
    struct reactor *home;
    device_logs_fn *found;
    void *ctx;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct list questions;
    bool stopped;
    unsigned users; /* The owner, the thread, and each answer on its way. */
};

/* The lock is held, and is not any more. */
static void release(struct device_logs *l)
{
    const bool last = --l->users == 0;

    pthread_mutex_unlock(&l->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->wake);
    free(l);
}

static void answer(struct io_msg *msg)
{
    struct question *q = CONTAINER_OF(msg, struct question, msg);
    struct device_logs *l = q->logs;

    if (!l->stopped) /* It is written on this thread. */
        l->found(l->ctx, q->disk, q->found ? &q->log : NULL);
    free(q);
    pthread_mutex_lock(&l->lock);
    release(l);
}

static struct question *next(struct device_logs *l)
{
    while (!l->stopped && list_empty(&l->questions))
        pthread_cond_wait(&l->wake, &l->lock);
    return l->stopped ? NULL : CONTAINER_OF(list_pop_front(&l->questions), struct question, link);
}

static void *run(void *arg)
{
    struct device_logs *l = arg;
    struct question *q;

    pthread_mutex_lock(&l->lock);
    while ((q = next(l)) != NULL) {
        pthread_mutex_unlock(&l->lock);
        q->found = device_log_read(q->path, &q->log);
        pthread_mutex_lock(&l->lock);
        if (l->stopped) { /* The reactor may be gone. */
            free(q);
            break;
        }
        q->msg.deliver = answer;
        l->users++;
        reactor_post(l->home, &q->msg);
    }
    release(l);
    return NULL;
}

static struct status MUST_CHECK start_thread(struct device_logs *l)
{
    pthread_attr_t attr;
    pthread_t thread;

    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    const int err = pthread_create(&thread, &attr, run, l);
    pthread_attr_destroy(&attr);
    if (err != 0)
        return status_from_errno(err);
    return STATUS(OK);
}

struct status device_logs_start(struct reactor *home, device_logs_fn *found, void *ctx,
                                struct device_logs **out_logs)
{
    struct device_logs *l = calloc(1, sizeof *l);

    if (l == NULL)
        return STATUS(NO_MEMORY);
    l->home = home;
    l->found = found;
    l->ctx = ctx;
    l->users = 2;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->wake, NULL);
    list_init(&l->questions);
    const struct status st = start_thread(l);
    if (!status_ok(st)) {
        l->users = 1;
        pthread_mutex_lock(&l->lock);
        release(l);
        return st;
    }
    *out_logs = l;
    return STATUS(OK);
}

struct status device_logs_ask(struct device_logs *l, struct uuid disk, const char *path)
{
    struct question *q = calloc(1, sizeof *q);

    assert(reactor_is_current(l->home));
    if (q == NULL)
        return STATUS(NO_MEMORY);
    q->logs = l;
    q->disk = disk;
    snprintf(q->path, sizeof q->path, "%s", path);
    list_node_init(&q->link);
    pthread_mutex_lock(&l->lock);
    list_push_back(&l->questions, &q->link);
    pthread_cond_signal(&l->wake);
    pthread_mutex_unlock(&l->lock);
    return STATUS(OK);
}

void device_logs_stop(struct device_logs *l)
{
    struct list_node *n;

    if (l == NULL)
        return;
    assert(reactor_is_current(l->home));
    pthread_mutex_lock(&l->lock);
    l->stopped = true;
    while ((n = list_pop_front(&l->questions)) != NULL)
        free(CONTAINER_OF(n, struct question, link));
    pthread_cond_signal(&l->wake);
    release(l);
}

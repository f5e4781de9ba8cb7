/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/disk_check.h"

#include <stdio.h>
#include <unistd.h>

#include "cmd/command.h"
#include "disk/dev.h"
#include "io/uring.h"
#include "store/store.h"

struct check {
    const char *path;
    enum cli_format format;
    bool repair;
    bool show_progress; /* Standard error is a terminal. */
    unsigned percent;   /* Shown last. */
    struct log log;
    struct reactor *reactor;
    struct dev *dev;
    struct store_check_report report;
    struct status status;
    json_t *problems;
    json_t *repairs;
    struct io_msg start;
};

/* The check's own report is what people read; the layers below have nothing to add. */
static void drop_line(struct log *log, enum log_level level, const char *line)
{
    (void)log;
    (void)level;
    (void)line;
}

static void on_problem(void *ctx, const char *text)
{
    struct check *c = ctx;

    json_array_append_new(c->problems, json_string(text));
    if (c->format == CLI_FORMAT_TABLE)
        printf("%s: %s\n", c->path, text);
}

static void on_repair(void *ctx, const char *text)
{
    struct check *c = ctx;

    json_array_append_new(c->repairs, json_string(text));
    if (c->format == CLI_FORMAT_TABLE)
        printf("%s: %s: %s\n", c->path,
               c->report.repair_it ? "repaired" : "can be repaired with --repair", text);
}

static void on_progress(void *ctx, uint64_t done_bytes, uint64_t all_bytes)
{
    struct check *c = ctx;
    const unsigned percent =
        all_bytes > 0 ? (unsigned)(100.0 * (double)done_bytes / (double)all_bytes) : 100;

    if (!c->show_progress || percent == c->percent)
        return;
    c->percent = percent;
    fprintf(stderr, "\r%s: %u %%", c->path, percent);
}

static void on_done(void *ctx, struct status status)
{
    struct check *c = ctx;

    c->status = status;
    reactor_stop(c->reactor);
}

static void on_start(struct io_msg *msg)
{
    struct check *c = CONTAINER_OF(msg, struct check, start);
    const struct status st = store_check(c->dev, &c->report, on_done, c);

    if (!status_ok(st))
        on_done(c, st);
}

static json_t *info_json(const struct check *c)
{
    const struct store_info *info = &c->report.info;
    json_t *o = json_object();

    json_object_set_new(o, "path", json_string(c->path));
    json_object_set_new(o, "name", json_string(info->identity.disk_name));
    json_object_set_new(o, "uuid", json_string(uuid_format(info->identity.disk).s));
    json_object_set_new(o, "cluster", json_string(info->identity.cluster_name));
    json_object_set_new(o, "bytes", json_integer((json_int_t)info->data_bytes));
    json_object_set_new(o, "free_bytes", json_integer((json_int_t)info->free_bytes));
    json_object_set_new(o, "volumes", json_integer((json_int_t)info->volumes));
    json_object_set_new(o, "shards", json_integer((json_int_t)info->shards));
    json_object_set_new(o, "problem_count", json_integer((json_int_t)c->report.problems));
    json_object_set_new(o, "repaired_count", json_integer((json_int_t)c->report.repaired));
    json_object_set(o, "problems", c->problems);
    json_object_set(o, c->report.repair_it ? "repaired" : "repairable", c->repairs);
    return o;
}

static const struct cli_column columns[] = {
    { "path", "path", CLI_KIND_TEXT },
    { "disk", "name", CLI_KIND_TEXT },
    { "uuid", "uuid", CLI_KIND_TEXT },
    { "cluster", "cluster", CLI_KIND_TEXT },
    { "size", "bytes", CLI_KIND_SIZE },
    { "free", "free_bytes", CLI_KIND_SIZE },
    { "volumes", "volumes", CLI_KIND_COUNT },
    { "shards", "shards", CLI_KIND_COUNT },
    { "problems", "problem_count", CLI_KIND_COUNT },
    { "repaired", "repaired_count", CLI_KIND_COUNT },
};

static int check_report(struct check *c)
{
    if (c->show_progress)
        fprintf(stderr, "\r");
    if (!status_ok(c->status) && c->report.repairable > 0)
        return cli_fail("disk '%s': it could not be repaired: %s; nothing that was good is lost",
                        c->path, status_text(c->status));
    if (!status_ok(c->status))
        return cli_fail("disk '%s': it could not be checked: %s", c->path, status_text(c->status));
    json_t *info = info_json(c);
    cli_print_record(c->format, info, columns, ARRAY_COUNT(columns));
    json_decref(info);
    return c->report.problems == c->report.repaired ? COMMAND_OK : COMMAND_FAILED;
}

static int open_failed(const char *path, struct status st)
{
    if (status_is(st, STATUS_BUSY))
        return cli_fail("disk '%s': it is in use; stop the 'trilith up' that has it", path);
    return cli_fail("disk '%s': cannot open it: %s", path, status_text(st));
}

static int check_on_reactor(struct check *c)
{
    struct status st = dev_file_open(c->reactor, c->path, 0, c->repair, &c->dev);
    if (!status_ok(st))
        return open_failed(c->path, st);

    c->report = (struct store_check_report) { .problem = on_problem,
                                              .progress = on_progress,
                                              .repair = on_repair,
                                              .repair_it = c->repair,
                                              .ctx = c };
    c->start.deliver = on_start;
    reactor_post(c->reactor, &c->start);
    reactor_run(c->reactor);
    dev_close(c->dev);
    return check_report(c);
}

int disk_check(const char *path, enum cli_format format, bool repair)
{
    struct check c = { .path = path,
                       .format = format,
                       .repair = repair,
                       .show_progress = isatty(STDERR_FILENO) == 1,
                       .log = { .level = LOG_LEVEL_ERROR, .sink = drop_line } };
    const struct uring_config config = { .log = &c.log };

    const struct status st = uring_reactor_create(&config, &c.reactor);
    if (!status_ok(st))
        return cli_fail("io_uring: %s; it needs Linux 5.14 or later, and a container must allow it",
                        status_text(st));
    c.problems = json_array();
    c.repairs = json_array();
    const int exit_status = check_on_reactor(&c);
    json_decref(c.problems);
    json_decref(c.repairs);
    reactor_destroy(c.reactor);
    return exit_status;
}

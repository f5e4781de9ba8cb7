/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every command needs at its edge: options with their help from one table, sizes and
 * numbers as people write them, and rows that are printed as a table or as JSON.
 *
 * Threading: the main thread.
 * Memory:    syntax tables are const; values point into argv.
 */
#ifndef CMD_CLI_H
#define CMD_CLI_H

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

#define CLI_OPERANDS_MAX 8

/* ---- Options ---- */

struct cli_option {
    const char *name;     /* Long name, without the dashes. */
    int id;               /* What cli_next() returns; a letter is also the short option. */
    const char *argument; /* What it takes, such as "SIZE"; NULL if nothing. */
    const char *help;     /* May have several lines. */
};

struct cli_syntax {
    const char *command;  /* "trilith volume create". */
    const char *operands; /* "NAME --size SIZE"; "" if there are none. */
    const char *about;    /* A few sentences, each line at most 78 columns. */
    const struct cli_option *options;
    unsigned option_count;
    unsigned operands_min;
    unsigned operands_max;
};

/* What cli_next() returns beside the ids of options. */
#define CLI_END  (-1) /* All is parsed: the operands are valid. */
#define CLI_EXIT (-2) /* The command ends now, with args->exit_status. */

struct cli_args {
    const struct cli_syntax *syntax;
    const char *value; /* Of the option that cli_next() has just returned. */
    const char *operands[CLI_OPERANDS_MAX];
    unsigned operand_count;
    int exit_status;

    /* Private to cli.c. */
    int argc;
    char **argv;
};

/* Options and operands may come in any order; "--" ends the options. */
void cli_begin(struct cli_args *args, const struct cli_syntax *syntax, int argc, char **argv);

/* The id of the next option, CLI_END or CLI_EXIT.  --help is answered here. */
int cli_next(struct cli_args *args);

/*
 * Says on standard error what is wrong with the arguments, names --help, sets exit_status and
 * returns CLI_EXIT's status, COMMAND_USAGE.
 */
int cli_usage(struct cli_args *args, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Says on standard error what failed: "trilith: ...".  Returns COMMAND_FAILED. */
int cli_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Of a clock that never goes back; any thread. */
uint64_t cli_now_ms(void);

/*
 * Parses the value of the option just returned, named for the message.  On failure the usage
 * error has been printed and exit_status is set.
 */
bool cli_size(struct cli_args *args, const char *option, uint64_t *out_bytes) MUST_CHECK;
bool cli_number(struct cli_args *args, const char *option, uint64_t min, uint64_t max,
                uint64_t *out_number) MUST_CHECK;

/*
 * The path from the root, which means the same wherever it is read and fits on a line of a file.
 * Returns COMMAND_OK, or the exit status when it was said what is wrong with it.
 */
int cli_disk_path(const char *path, char out_path[PATH_MAX]) MUST_CHECK;

/* ---- Options of every command that runs a reactor: values of uring_config ---- */

#define CLI_OPTION_SPIN(id)                                   \
    {                                                         \
        "spin", (id), "off|auto|US",                          \
            "how long to look for work before sleeping, in\n" \
            "microseconds (auto: while it pays)"              \
    }
#define CLI_OPTION_IO_FEATURES(id)                                  \
    {                                                               \
        "io-features", (id), "LIST",                                \
            "what io_uring may use of the kernel: all (default),\n" \
            "none, a version such as 5.14, or names"                \
    }

bool cli_spin(struct cli_args *args, uint64_t *out_ns) MUST_CHECK;
bool cli_io_features(struct cli_args *args, uint64_t *out_mask) MUST_CHECK;

/* ---- Output ---- */

enum cli_format { CLI_FORMAT_TABLE, CLI_FORMAT_JSON };

/* The option that every command with output has. */
#define CLI_OPTION_OUTPUT                                                             \
    {                                                                                 \
        "output", 'o', "FORMAT", "print a table (default) or json: -o table, -o json" \
    }

/* Parses -o's value. */
bool cli_output(struct cli_args *args, enum cli_format *out_format) MUST_CHECK;

enum cli_kind {
    CLI_KIND_TEXT,
    CLI_KIND_SIZE,  /* An integer in bytes, printed as 10G. */
    CLI_KIND_COUNT, /* An integer or a number, aligned right. */
    CLI_KIND_LIST,  /* An array of strings, printed with commas. */
};

struct cli_column {
    const char *header;
    const char *key; /* Of the member in each row's object. */
    enum cli_kind kind;
};

/* Prints an array of objects: as they are in JSON, or the columns of each as a row. */
void cli_print_rows(enum cli_format format, const json_t *rows, const struct cli_column *columns,
                    unsigned count);

/* Prints one object: as it is in JSON, or each column as a line "header: value". */
void cli_print_record(enum cli_format format, const json_t *record,
                      const struct cli_column *columns, unsigned count);

#endif

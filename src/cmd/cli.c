/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/size.h"
#include "cmd/command.h"

#define OPTIONS_MAX 40
#define ID_HELP     'h'
#define HELP_COLUMN 30

static bool id_is_letter(int id)
{
    return (id >= 'a' && id <= 'z') || (id >= 'A' && id <= 'Z');
}

/* ---- Options ---- */

static void print_option(const struct cli_option *o)
{
    char left[64];
    char letter[8] = "    ";
    if (id_is_letter(o->id))
        snprintf(letter, sizeof letter, "-%c, ", o->id);
    snprintf(left, sizeof left, "%s--%s%s%s", letter, o->name, o->argument != NULL ? " " : "",
             o->argument != NULL ? o->argument : "");

    /* The help starts in column HELP_COLUMN, and so do its further lines. */
    const bool fits = strlen(left) + 3 <= HELP_COLUMN;
    printf("  %-*s%s", HELP_COLUMN - 2, left, fits ? "" : "\n");
    for (const char *line = o->help; line != NULL;) {
        const char *end = strchr(line, '\n');
        const int bytes = end != NULL ? (int)(end - line) : (int)strlen(line);
        printf("%*s%.*s\n", line == o->help && fits ? 0 : HELP_COLUMN, "", bytes, line);
        line = end != NULL ? end + 1 : NULL;
    }
}

static void print_help(const struct cli_syntax *s)
{
    static const struct cli_option help = { "help", ID_HELP, NULL, "print this text" };

    printf("usage: %s%s%s\n\n%s\n\noptions:\n", s->command, s->operands[0] != '\0' ? " " : "",
           s->operands, s->about);
    for (unsigned i = 0; i < s->option_count; i++)
        print_option(&s->options[i]);
    print_option(&help);
}

void cli_begin(struct cli_args *args, const struct cli_syntax *syntax, int argc, char **argv)
{
    assert(syntax->option_count < OPTIONS_MAX);
    assert(syntax->operands_max <= CLI_OPERANDS_MAX);
    *args = (struct cli_args) { .syntax = syntax, .argc = argc, .argv = argv };
    optind = 0; /* Makes getopt_long() start anew. */
    opterr = 0;
}

/* The tables that getopt_long() wants.  ':' makes a missing argument distinct. */
static int next_option(struct cli_args *args)
{
    struct option table[OPTIONS_MAX + 1] = { 0 };
    char letters[2 * OPTIONS_MAX + 4] = ":h";
    size_t at = 2;
    const struct cli_syntax *s = args->syntax;

    for (unsigned i = 0; i < s->option_count; i++) {
        const struct cli_option *o = &s->options[i];
        const int takes = o->argument != NULL ? required_argument : no_argument;
        table[i] = (struct option) { o->name, takes, NULL, o->id };
        if (!id_is_letter(o->id))
            continue;
        letters[at++] = (char)o->id;
        if (o->argument != NULL)
            letters[at++] = ':';
    }
    letters[at] = '\0';
    table[s->option_count] = (struct option) { "help", no_argument, NULL, ID_HELP };
    return getopt_long(args->argc, args->argv, letters, table, NULL);
}

static int take_operands(struct cli_args *args)
{
    const struct cli_syntax *s = args->syntax;
    const unsigned count = (unsigned)(args->argc - optind);

    if (count > s->operands_max) {
        (void)cli_usage(args, "'%s' is one argument too many",
                        args->argv[(unsigned)optind + s->operands_max]);
        return CLI_EXIT;
    }
    if (count < s->operands_min) {
        (void)cli_usage(args, "an argument is missing: %s %s", s->command, s->operands);
        return CLI_EXIT;
    }
    for (unsigned i = 0; i < count; i++)
        args->operands[i] = args->argv[(unsigned)optind + i];
    args->operand_count = count;
    return CLI_END;
}

int cli_next(struct cli_args *args)
{
    const int id = next_option(args);
    const char *given = optind > 0 && optind <= args->argc ? args->argv[optind - 1] : "";

    switch (id) {
    case -1:
        return take_operands(args);
    case ID_HELP:
        print_help(args->syntax);
        args->exit_status = COMMAND_OK;
        return CLI_EXIT;
    case ':':
        (void)cli_usage(args, "option '%s' needs an argument", given);
        return CLI_EXIT;
    case '?':
        /* optopt is the letter of an unknown short option, or 0 for a long one. */
        if (optopt != 0 && id_is_letter(optopt))
            (void)cli_usage(args, "there is no option '-%c'", optopt);
        else
            (void)cli_usage(args, "there is no option '%s'", given);
        return CLI_EXIT;
    default:
        args->value = optarg;
        return id;
    }
}

int cli_usage(struct cli_args *args, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    fprintf(stderr, "trilith: ");
    vfprintf(stderr, format, ap);
    fprintf(stderr, "; see '%s --help'\n", args->syntax->command);
    va_end(ap);
    args->exit_status = COMMAND_USAGE;
    return COMMAND_USAGE;
}

int cli_fail(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    fprintf(stderr, "trilith: ");
    vfprintf(stderr, format, ap);
    fprintf(stderr, "\n");
    va_end(ap);
    return COMMAND_FAILED;
}

bool cli_size(struct cli_args *args, const char *option, uint64_t *out_bytes)
{
    const struct status st = size_parse(args->value, out_bytes);
    if (status_ok(st))
        return true;
    (void)cli_usage(args, "--%s '%s' is not a size; write 4096, 4K, 10G or 1.5T", option,
                    args->value);
    return false;
}

bool cli_number(struct cli_args *args, const char *option, uint64_t min, uint64_t max,
                uint64_t *out_number)
{
    char *end = NULL;
    errno = 0;
    const unsigned long long number = strtoull(args->value, &end, 10);
    const bool digits = args->value[0] >= '0' && args->value[0] <= '9' && *end == '\0';
    if (!digits || errno != 0 || number < min || number > max) {
        (void)cli_usage(args, "--%s '%s' is not a number from %llu to %llu", option, args->value,
                        (unsigned long long)min, (unsigned long long)max);
        return false;
    }
    *out_number = number;
    return true;
}

bool cli_output(struct cli_args *args, enum cli_format *out_format)
{
    if (strcmp(args->value, "table") == 0)
        *out_format = CLI_FORMAT_TABLE;
    else if (strcmp(args->value, "json") == 0)
        *out_format = CLI_FORMAT_JSON;
    else
        return cli_usage(args, "--output '%s' is neither table nor json", args->value) ==
               COMMAND_OK;
    return true;
}

int cli_disk_path(const char *path, char out_path[PATH_MAX])
{
    const bool is_relative = path[0] != '/';
    char here[PATH_MAX] = "";

    if (is_relative && getcwd(here, sizeof here) == NULL)
        return cli_fail("disk '%s': the working directory: %s", path, strerror(errno));
    const int n = snprintf(out_path, PATH_MAX, "%s%s%s", here, is_relative ? "/" : "", path);
    if (n >= PATH_MAX || strchr(path, '\n') != NULL) {
        (void)cli_fail("disk '%s': a path without line breaks, of less than %d bytes, is possible",
                       path, PATH_MAX);
        return COMMAND_USAGE;
    }
    return COMMAND_OK;
}

uint64_t cli_now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

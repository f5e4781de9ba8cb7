/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/up_config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/span.h"
#include "cmd/cli.h"

#define LINES_MAX 1024
#define SPACES    " \t\r\n"

static void file_close(FILE **file)
{
    if (*file != NULL)
        fclose(*file);
}

/* The option, as one argument or as two. */
struct place {
    int at;    /* argc: it is not there. */
    int count; /* Of arguments. */
    const char *path;
};

static struct place find(int argc, char **argv)
{
    static const char option[] = "--config";
    const size_t length = sizeof option - 1;

    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], option, length) != 0)
            continue;
        if (argv[i][length] == '=')
            return (struct place) { i, 1, argv[i] + length + 1 };
        if (argv[i][length] == '\0' && i + 1 < argc)
            return (struct place) { i, 2, argv[i + 1] };
    }
    return (struct place) { argc, 0, NULL }; /* Without a file the parser says so. */
}

/* "name value" as "--name" and "value"; nothing of an empty line, or of one that begins with #. */
static struct status MUST_CHECK take_line(char *line, char **out, int *count)
{
    char *name = line + strspn(line, SPACES);
    char option[128];

    line[strcspn(line, "\r\n")] = '\0';
    if (*name == '\0' || *name == '#')
        return STATUS(OK);
    char *value = name + strcspn(name, SPACES);
    if (*value != '\0') {
        *value++ = '\0';
        value += strspn(value, SPACES);
        for (size_t end = strlen(value); end > 0 && strchr(SPACES, value[end - 1]) != NULL; end--)
            value[end - 1] = '\0';
    }
    (void)snprintf(option, sizeof option, "--%.100s", name);
    out[*count] = strdup(option);
    if (out[*count] == NULL)
        return STATUS(NO_MEMORY);
    (*count)++;
    if (*value == '\0')
        return STATUS(OK);
    out[*count] = strdup(value);
    if (out[*count] == NULL)
        return STATUS(NO_MEMORY);
    (*count)++;
    return STATUS(OK);
}

static struct status MUST_CHECK read_file(const char *path, char **out, int *count)
{
    char line[PATH_MAX];
    CLEANUP(file_close) FILE *file = fopen(path, "re");

    if (file == NULL) {
        const int err = errno;
        (void)cli_fail("cannot read '%s': %s", path, strerror(err));
        return status_from_errno(err);
    }
    for (unsigned i = 0; fgets(line, sizeof line, file) != NULL; i++) {
        if (i == LINES_MAX || strchr(line, '\n') == NULL) {
            (void)cli_fail("'%s': line %u: it has at most %u lines, of less than %d bytes, each "
                           "with its end",
                           path, i + 1, LINES_MAX, PATH_MAX);
            return STATUS(INVALID);
        }
        TRY(take_line(line, out, count));
    }
    if (!ferror(file))
        return STATUS(OK);
    (void)cli_fail("cannot read '%s'", path);
    return STATUS(IO);
}

struct status up_config_expand(struct up_config *out_config, int *argc, char ***argv)
{
    struct up_config *const c = out_config;
    const struct place p = find(*argc, *argv);
    int count = 0;

    *c = (struct up_config) { 0 };
    if (p.path == NULL)
        return STATUS(OK);
    c->argv = calloc((size_t)*argc + (size_t)2 * LINES_MAX, sizeof *c->argv);
    c->values = calloc((size_t)2 * LINES_MAX, sizeof *c->values);
    if (c->argv == NULL || c->values == NULL)
        return STATUS(NO_MEMORY);
    TRY(read_file(p.path, c->values, &c->count));
    c->argv[count++] = (*argv)[0];
    for (int i = 0; i < c->count; i++)
        c->argv[count++] = c->values[i];
    for (int i = 1; i < *argc; i++)
        if (i < p.at || i >= p.at + p.count)
            c->argv[count++] = (*argv)[i];
    *argc = count;
    *argv = c->argv;
    return STATUS(OK);
}

void up_config_free(struct up_config *config)
{
    for (int i = 0; i < config->count; i++)
        free(config->values[i]);
    free(config->values);
    free(config->argv);
}

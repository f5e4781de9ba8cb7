/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/up_known.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/cli.h"

static void file_close(FILE **file)
{
    if (*file != NULL)
        fclose(*file);
}

bool up_known_has(const struct up_known *known, const char *line)
{
    for (unsigned i = 0; i < known->count; i++)
        if (strcmp(known->line[i], line) == 0)
            return true;
    return false;
}

void up_known_add(struct up_known *known, const char *line)
{
    if (up_known_has(known, line) || known->count == NODE_DISKS_MAX)
        return;
    snprintf(known->line[known->count++], PATH_MAX, "%s", line);
}

bool up_known_remove(struct up_known *known, const char *line)
{
    for (unsigned i = 0; i < known->count; i++) {
        if (strcmp(known->line[i], line) != 0)
            continue;
        known->count--;
        memmove(known->line[i], known->line[i + 1], (known->count - i) * sizeof known->line[0]);
        return true;
    }
    return false;
}

struct status up_known_read(const struct up_dir *dir, struct up_known *out_known)
{
    char path[PATH_MAX];
    char line[PATH_MAX];

    *out_known = (struct up_known) { 0 };
    TRY(up_dir_path(dir, up_dir_of_node(dir, "disks").s, path));
    CLEANUP(file_close) FILE *file = fopen(path, "re");
    if (file == NULL && errno == ENOENT)
        return STATUS(OK);
    if (file == NULL) {
        const int err = errno;
        (void)cli_fail("cannot read '%s': %s", path, strerror(err));
        return status_from_errno(err);
    }
    while (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] != '\0')
            up_known_add(out_known, line);
    }
    if (!ferror(file))
        return STATUS(OK);
    (void)cli_fail("cannot read '%s'", path);
    return STATUS(IO);
}

struct status up_known_write(const struct up_dir *dir, const struct up_known *known)
{
    size_t bytes = 1;
    for (unsigned i = 0; i < known->count; i++)
        bytes += strlen(known->line[i]) + 1;

    char *text = malloc(bytes);
    if (text == NULL)
        return STATUS(NO_MEMORY);
    text[0] = '\0';
    for (unsigned i = 0, at = 0; i < known->count; i++)
        at += (unsigned)snprintf(text + at, bytes - at, "%s\n", known->line[i]);
    const struct status st = up_dir_replace(dir, up_dir_of_node(dir, "disks").s, text);
    free(text);
    return st;
}

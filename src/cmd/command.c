/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/command.h"

#include <stdio.h>
#include <string.h>

static void print_table(FILE *to, const char *prefix, const struct command *table, unsigned count)
{
    fprintf(to, "usage: %s COMMAND [ARGUMENTS]\n\ncommands:\n", prefix);
    for (unsigned i = 0; i < count; i++)
        fprintf(to, "  %-10s %s\n", table[i].name, table[i].summary);
    fprintf(to, "\n'%s COMMAND --help' describes a command.\n", prefix);
}

static const struct command *find(const struct command *table, unsigned count, const char *name)
{
    for (unsigned i = 0; i < count; i++)
        if (strcmp(table[i].name, name) == 0)
            return &table[i];
    return NULL;
}

int command_dispatch(const char *prefix, const struct command *table, unsigned count, int argc,
                     char **argv)
{
    if (argc < 2) {
        print_table(stderr, prefix, table, count);
        return COMMAND_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        print_table(stdout, prefix, table, count);
        return COMMAND_OK;
    }
    const struct command *command = find(table, count, name);
    if (command != NULL)
        return command->run(argc - 1, argv + 1);

    fprintf(stderr, "trilith: '%s' is not a command of '%s'; it has", name, prefix);
    for (unsigned i = 0; i < count; i++)
        fprintf(stderr, "%s %s", i == 0 ? "" : ",", table[i].name);
    fprintf(stderr, "\n");
    return COMMAND_USAGE;
}

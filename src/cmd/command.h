/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a subcommand of `trilith` is, and how one is chosen from a table.
 *
 *   trilith volume create db1 --size 10G
 *   |       |      +-- struct command in cmd_volume.c's table
 *   |       +--------- struct command in main.c's table
 *   +----------------- main()
 *
 * A command returns its exit status: COMMAND_OK, COMMAND_FAILED, or COMMAND_USAGE when the
 * arguments were wrong.  It has then said why on standard error, once.
 *
 * Threading: the main thread.   Memory: tables are const.
 */
#ifndef CMD_COMMAND_H
#define CMD_COMMAND_H

enum command_exit { COMMAND_OK = 0, COMMAND_FAILED = 1, COMMAND_USAGE = 2 };

struct command {
    const char *name;
    const char *summary; /* One line, for the table in --help. */
    /* argv[0] is the command's own name. */
    int (*run)(int argc, char **argv);
};

/*
 * Runs the command of table that argv[1] names.  prefix is what the user typed so far, such as
 * "trilith volume".  Answers --help with the table, and a wrong name with the right ones.
 */
int command_dispatch(const char *prefix, const struct command *table, unsigned count, int argc,
                     char **argv);

/* The subcommands, each in cmd_NAME.c. */
int cmd_disk(int argc, char **argv);
int cmd_node(int argc, char **argv);
int cmd_node_loss(int argc, char **argv);
int cmd_node_run(int argc, char **argv);   /* cmd_up.c */
int cmd_node_start(int argc, char **argv); /* cmd_node_process.c */
int cmd_node_stop(int argc, char **argv);
int cmd_perf(int argc, char **argv);
int cmd_scrub(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_up(int argc, char **argv);
int cmd_version(int argc, char **argv);
int cmd_volume(int argc, char **argv);
int cmd_volume_verify(int argc, char **argv);
int cmd_volume_wait(int argc, char **argv);

#endif

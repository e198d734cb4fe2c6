/* What the actor's parts share. The actor does real things to processes and says, one JSON object a line on stdout,
 * what it really did, so that a test can hold the collector's events against an account of its own.
 */
#ifndef ACTOR_H
#define ACTOR_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdint.h>
#include <sys/types.h>

/* Exit codes of the actor itself. */
enum { ACTOR_USAGE = 2, ACTOR_REFUSED = 3, ACTOR_BROKEN = 4, ACTOR_EXEC_FAILED = 127 };

/* Bounds: no subcommand takes a larger count, and none lives longer. */
enum { COUNT_MAX = 100000, PATH_RACES_MAX = 300, THREADS_MAX = 64, LIFE_MAX_S = 600 };

struct child {
    pid_t pid;
    int status;         /* as waitpid gave it */
    uint64_t ticks;     /* field 22 of /proc/PID/stat: start, in ticks since boot */
    uint64_t elapsed_ns; /* from before the fork to after the wait */
};

/* Fails: says which call the kernel refused (or that the actor itself broke) and ends. */
void refused(const char *call) __attribute__((noreturn));
void broken(const char *what) __attribute__((noreturn));

uint64_t now_ns(void);
long number(const char *text, long max);

/* Waits for a child, reading its start from /proc while it is a zombie. */
struct child reap(pid_t pid, uint64_t forked_ns);
/* One line about a child; `more` holds further members, each with a leading comma. */
void tell_child(const struct child *child, const char *more);
/* One line about a file: device and inode by fstat. */
void tell_file(int fd);
/* A copy of a file into an open descriptor. */
void copy_into(const char *path, int fd);
/* The text in a page that a forked child has not touched. */
char *cold(const char *text);

/* Subcommands; argv[0] is the subcommand's name. */
#define SUBCOMMAND(name) int name(int argc, char **argv)
SUBCOMMAND(do_spawn);
SUBCOMMAND(do_argv);
SUBCOMMAND(do_memfd);
SUBCOMMAND(do_unlinked);
SUBCOMMAND(do_execveat_fd);
SUBCOMMAND(do_procfd);
SUBCOMMAND(do_vfork);
SUBCOMMAND(do_posix_spawn);
SUBCOMMAND(do_orphan);
SUBCOMMAND(do_deep);
SUBCOMMAND(do_thread_exec);
SUBCOMMAND(do_path_race);
SUBCOMMAND(do_ran);
SUBCOMMAND(do_leader_first);
SUBCOMMAND(do_short_threads);
SUBCOMMAND(do_race);
SUBCOMMAND(do_signal);
SUBCOMMAND(do_core);
SUBCOMMAND(do_live);
SUBCOMMAND(do_rename);
SUBCOMMAND(do_forks);
SUBCOMMAND(do_storm);
SUBCOMMAND(do_chain);
SUBCOMMAND(do_uid);
SUBCOMMAND(do_ns);
SUBCOMMAND(do_pidns);
SUBCOMMAND(do_loginuid);
SUBCOMMAND(do_dropcap);
SUBCOMMAND(do_memlock);
SUBCOMMAND(do_nobtf);
SUBCOMMAND(do_notracefs);
SUBCOMMAND(do_gate);
SUBCOMMAND(do_tell);
SUBCOMMAND(do_probe_bpf);
SUBCOMMAND(do_connects);
SUBCOMMAND(do_unreachable);
SUBCOMMAND(do_timeouts);
SUBCOMMAND(do_interrupted);
SUBCOMMAND(do_fastopen);
SUBCOMMAND(do_ia32);
SUBCOMMAND(do_datagrams);
SUBCOMMAND(do_uring);
SUBCOMMAND(do_opens);
SUBCOMMAND(do_failed_opens);
SUBCOMMAND(do_failed_execs);
SUBCOMMAND(do_deep_open);
SUBCOMMAND(do_nameless);
SUBCOMMAND(do_open_places);
SUBCOMMAND(do_open_overlay);
SUBCOMMAND(do_open_each);
SUBCOMMAND(do_interrupted_opens);
SUBCOMMAND(do_mixed_opens);
SUBCOMMAND(do_moved_opens);

#endif

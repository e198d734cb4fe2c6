/* What the actor's parts share. The actor does real things to processes and says, one JSON object a line on stdout,
 * what it really did, so that a test can hold the collector's events against an account of its own.
 */
#ifndef ACTOR_H
#define ACTOR_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <linux/io_uring.h>
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
/* This process in the namespace of /proc, also from inside of another. */
pid_t own_pid(void);
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

/* One line about an open that came out well; and then its descriptor is closed; about one that failed with `errno`. */
void tell_opened(const char *kind, const char *path, const char *requested, long fd, int created);
void tell_open(const char *kind, const char *path, const char *requested, long fd, int created);
void tell_failed(const char *kind, const char *requested, long result);

/* The calls themselves: the C library may make others of them. */
int open_(const char *path, int flags);
int creat_(const char *path, int mode);
long openat2_(int dir, const char *path, uint64_t flags, uint64_t mode);
long open_by_handle(int dir, const char *path, int flags);

/* A call of 32 bits, whose pointers have as many; 64 KiB for what they point to, NULL where there are no such calls. */
long call32(long number, long a, long b, long c, long d, long e);
void *low_memory(void);

/* A ring of io_uring. */
struct ring {
    int fd;
    unsigned setup, queued; /* flags of the set-up; requests that are not submitted */
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
    uint32_t *sq_tail, *sq_flags, *cq_head, *cq_tail;
    uint32_t sq_mask, cq_mask;
};
struct ring ring_make(unsigned entries, unsigned flags);
/* The next request, all zeros. */
struct io_uring_sqe *ring_next(struct ring *ring);
/* Submits what is queued and waits for all of it; results in the order of the requests. */
void ring_run(struct ring *ring, int *results);

/* Subcommands; argv[0] is the subcommand's name. */
#define SUBCOMMAND(name) int name(int argc, char **argv)
SUBCOMMAND(do_double_hook);
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
SUBCOMMAND(do_headless);
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
SUBCOMMAND(do_given_up);
SUBCOMMAND(do_timens);
SUBCOMMAND(do_loginuid);
SUBCOMMAND(do_dropcap);
SUBCOMMAND(do_uid_caps);
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
SUBCOMMAND(do_ia32_udp);
SUBCOMMAND(do_datagrams);
SUBCOMMAND(do_uring);
SUBCOMMAND(do_uring_udp);
SUBCOMMAND(do_terminal);
SUBCOMMAND(do_unbound);
SUBCOMMAND(do_mptcp);
SUBCOMMAND(do_unix_types);
SUBCOMMAND(do_unix_names);
SUBCOMMAND(do_families);
SUBCOMMAND(do_uring_polled);
SUBCOMMAND(do_fastopen_ways);
SUBCOMMAND(do_changed_meanwhile);
SUBCOMMAND(do_ia32_refused);
SUBCOMMAND(do_ia32_opens);
SUBCOMMAND(do_ia32_waiting);
SUBCOMMAND(do_ia32_failed_execs);
SUBCOMMAND(do_ia32_unix);
SUBCOMMAND(do_ia32_no_route);
SUBCOMMAND(do_dropped);
SUBCOMMAND(do_nobody_there);
SUBCOMMAND(do_no_route);
SUBCOMMAND(do_open_cases);
SUBCOMMAND(do_pidns_connect);
SUBCOMMAND(do_raced_opens);
SUBCOMMAND(do_open_failures);
SUBCOMMAND(do_exec_failures);
SUBCOMMAND(do_exec_nowhere);
SUBCOMMAND(do_exec32);
SUBCOMMAND(do_opens);
SUBCOMMAND(do_failed_opens);
SUBCOMMAND(do_failed_execs);
SUBCOMMAND(do_deep_open);
SUBCOMMAND(do_nameless);
SUBCOMMAND(do_placeless);
SUBCOMMAND(do_racing_execs);
SUBCOMMAND(do_pending_exec);
SUBCOMMAND(do_taken_errors);
SUBCOMMAND(do_open_places);
SUBCOMMAND(do_open_overlay);
SUBCOMMAND(do_open_pivoted);
SUBCOMMAND(do_open_each);
SUBCOMMAND(do_interrupted_opens);
SUBCOMMAND(do_mixed_opens);
SUBCOMMAND(do_moved_opens);
SUBCOMMAND(do_uring_opens);
SUBCOMMAND(do_uring_direct);
SUBCOMMAND(do_answered);

#endif

/* Threads, and ways to end. */
#include "actor.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static pid_t forked(void)
{
    pid_t pid = fork();
    if (pid < 0)
        broken("fork");
    return pid;
}

static pthread_t thread(void *(*body)(void *), void *argument)
{
    pthread_t id;
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 65536);
    if (pthread_create(&id, &small, body, argument) != 0)
        broken("pthread_create");
    return id;
}

static void *sleeper(void *unused)
{
    (void)unused;
    for (;;)
        pause();
    return NULL;
}

static int exec_pipe;

static void *execs(void *argv)
{
    char **args = argv;
    pid_t tid = (pid_t)syscall(SYS_gettid);
    if (write(exec_pipe, &tid, sizeof tid) != sizeof tid)
        _exit(ACTOR_BROKEN);
    execv(args[0], args);
    _exit(ACTOR_EXEC_FAILED);
}

int do_thread_exec(int argc, char **argv)
{
    (void)argc;
    int ends[2];
    pid_t tid = 0;
    char more[32];
    int fd = open(argv[1], O_PATH | O_CLOEXEC);
    if (fd < 0 || pipe2(ends, O_CLOEXEC) < 0)
        broken(argv[1]);
    tell_file(fd);
    uint64_t began = now_ns();
    pid_t pid = forked();
    if (pid == 0) {
        exec_pipe = ends[1];
        for (int i = 0; i < 3; i++)
            thread(sleeper, NULL);
        thread(execs, argv + 1);
        sleeper(NULL);
    }
    if (read(ends[0], &tid, sizeof tid) != sizeof tid)
        broken("the thread's word");
    struct child child = reap(pid, began);
    snprintf(more, sizeof more, ",\"tid\":%d", tid);
    tell_child(&child, more);
    return 0;
}

/* The path that an execve reads while a thread writes it. The names differ in one byte, so that none is ever torn. */
static char *raced_path;
static size_t raced_at;
static char raced_bytes[2];
static atomic_int changing;

static void *changes_the_path(void *unused)
{
    (void)unused;
    volatile char *byte = raced_path + raced_at;
    atomic_store(&changing, 1);
    for (unsigned turn = 0;; turn++)
        *byte = raced_bytes[turn & 1];
    return NULL;
}

static size_t only_difference(const char *one, const char *other)
{
    size_t at = 0, size = strlen(one) + 1;
    while (at < size && one[at] == other[at])
        at++;
    if (at == size || strlen(other) + 1 != size || strcmp(one + at + 1, other + at + 1) != 0) {
        dprintf(2, "actor: not two names that differ in one byte: %s %s\n", one, other);
        _exit(ACTOR_USAGE);
    }
    return at;
}

int do_path_race(int argc, char **argv)
{
    (void)argc;
    long times = number(argv[1], PATH_RACES_MAX);
    char *args[] = {"raced", "ran", NULL};
    raced_at = only_difference(argv[2], argv[3]);
    raced_bytes[0] = argv[2][raced_at];
    raced_bytes[1] = argv[3][raced_at];
    raced_path = argv[2];
    for (long i = 0; i < times; i++) {
        uint64_t began = now_ns();
        pid_t pid = forked();
        if (pid == 0) {
            alarm(60);
            thread(changes_the_path, NULL);
            while (!atomic_load(&changing))
                sched_yield();
            execv(raced_path, args);
            _exit(ACTOR_EXEC_FAILED);
        }
        struct child child = reap(pid, began);
        tell_child(&child, "");
    }
    return 0;
}

int do_ran(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    struct stat file;
    if (stat("/proc/self/exe", &file) < 0)
        broken("/proc/self/exe");
    dprintf(1, "{\"act\":\"ran\",\"pid\":%d,\"dev\":\"%u:%u\",\"ino\":%llu}\n", getpid(), major(file.st_dev),
            minor(file.st_dev), (unsigned long long)file.st_ino);
    return 0;
}

static int last_code, last_ends_group, last_waits;

static void *outlives_leader(void *unused)
{
    (void)unused;
    char path[64], stat[512];
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", getpid());
    for (;;) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t len = fd < 0 ? -1 : read(fd, stat, sizeof stat - 1);
        if (len <= 0)
            _exit(ACTOR_BROKEN);
        close(fd);
        stat[len] = 0;
        char *state = strrchr(stat, ')');
        if (state && state[2] == 'Z')
            break;
        sched_yield();
    }
    if (last_waits) {
        char byte;
        dprintf(1, "{\"act\":\"headless\",\"pid\":%d}\n", getpid());
        if (read(0, &byte, 1) != 1)
            _exit(ACTOR_BROKEN);
    }
    syscall(last_ends_group ? SYS_exit_group : SYS_exit, last_code);
    return NULL;
}

int do_headless(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    last_waits = 1;
    thread(outlives_leader, NULL);
    syscall(SYS_exit, 0);
    return 0;
}

int do_leader_first(int argc, char **argv)
{
    (void)argc;
    int leader_code = (int)number(argv[1], 255);
    last_code = (int)number(argv[2], 255);
    last_ends_group = strcmp(argv[3], "group") == 0;
    uint64_t began = now_ns();
    pid_t pid = forked();
    if (pid == 0) {
        alarm(60);
        thread(outlives_leader, NULL);
        syscall(SYS_exit, leader_code);
    }
    struct child child = reap(pid, began);
    tell_child(&child, "");
    return 0;
}

static void *ends_at_once(void *unused)
{
    return unused;
}

int do_short_threads(int argc, char **argv)
{
    (void)argc;
    long threads = number(argv[1], THREADS_MAX), code = number(argv[2], 255);
    uint64_t began = now_ns();
    pid_t pid = forked();
    if (pid == 0) {
        for (long i = 0; i < threads; i++)
            pthread_join(thread(ends_at_once, NULL), NULL);
        _exit((int)code);
    }
    struct child child = reap(pid, began);
    tell_child(&child, "");
    return 0;
}

static atomic_long at_the_line, racers;

static void *races(void *code)
{
    atomic_fetch_add(&at_the_line, 1);
    while (atomic_load(&at_the_line) < atomic_load(&racers))
        sched_yield();
    syscall(SYS_exit_group, (int)(intptr_t)code);
    return NULL;
}

int do_race(int argc, char **argv)
{
    (void)argc;
    long times = number(argv[1], COUNT_MAX), threads = number(argv[2], THREADS_MAX);
    for (long i = 0; i < times; i++) {
        uint64_t began = now_ns();
        pid_t pid = forked();
        if (pid == 0) {
            alarm(60);
            atomic_store(&racers, threads);
            for (long t = 1; t < threads; t++)
                thread(races, (void *)(intptr_t)(t + 1));
            races((void *)(intptr_t)1);
        }
        struct child child = reap(pid, began);
        tell_child(&child, "");
    }
    return 0;
}

/* A child that limits its core dump, then dies by a signal. */
static int dies_by(int signal_number, rlim_t core_bytes)
{
    uint64_t began = now_ns();
    pid_t pid = forked();
    if (pid == 0) {
        struct rlimit core = {core_bytes, core_bytes};
        setrlimit(RLIMIT_CORE, &core);
        signal(signal_number, SIG_DFL);
        kill(getpid(), signal_number);
        pause();
    }
    struct child child = reap(pid, began);
    tell_child(&child, WCOREDUMP(child.status) ? ",\"core\":true" : ",\"core\":false");
    return 0;
}

int do_signal(int argc, char **argv)
{
    (void)argc;
    return dies_by((int)number(argv[1], 64), 0);
}

int do_core(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return dies_by(SIGABRT, RLIM_INFINITY);
}

int do_live(int argc, char **argv)
{
    (void)argc;
    long ms = number(argv[1], 60000), code = number(argv[2], 255);
    uint64_t began = now_ns();
    pid_t pid = forked();
    if (pid == 0) {
        struct timespec life = {ms / 1000, ms % 1000 * 1000000};
        clock_nanosleep(CLOCK_BOOTTIME, 0, &life, NULL);
        _exit((int)code);
    }
    struct child child = reap(pid, began);
    tell_child(&child, "");
    return 0;
}

int do_rename(int argc, char **argv)
{
    (void)argc;
    uint64_t began = now_ns();
    pid_t pid = forked();
    if (pid == 0) {
        prctl(PR_SET_NAME, argv[1]);
        _exit(0);
    }
    struct child child = reap(pid, began);
    tell_child(&child, "");
    return 0;
}

int do_forks(int argc, char **argv)
{
    (void)argc;
    long times = number(argv[1], COUNT_MAX);
    for (long i = 0; i < times; i++) {
        uint64_t began = now_ns();
        pid_t pid = forked();
        if (pid == 0)
            _exit(0);
        struct child child = reap(pid, began);
        tell_child(&child, "");
    }
    return 0;
}

int do_storm(int argc, char **argv)
{
    (void)argc;
    long times = number(argv[1], COUNT_MAX);
    for (long i = 0; i < times; i++) {
        pid_t pid = forked();
        if (pid == 0)
            _exit(0);
        if (waitpid(pid, NULL, 0) != pid)
            broken("waitpid");
    }
    dprintf(1, "{\"act\":\"storm\",\"forks\":%ld}\n", times);
    return 0;
}

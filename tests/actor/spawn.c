/* Ways to start a program. Each forks, execs in the child, waits, and tells the file and the child. */
#include "actor.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static int open_or_break(const char *path, int flags)
{
    int fd = open(path, flags);
    if (fd < 0)
        broken(path);
    return fd;
}

static void tell_path(const char *path)
{
    int fd = open_or_break(path, O_PATH | O_CLOEXEC);
    tell_file(fd);
    close(fd);
}

static pid_t forked(void)
{
    pid_t pid = fork();
    if (pid < 0)
        broken("fork");
    return pid;
}

static int wait_and_tell(pid_t pid, uint64_t began)
{
    struct child child = reap(pid, began);
    tell_child(&child, "");
    return 0;
}

int do_spawn(int argc, char **argv)
{
    long times = number(argv[1], COUNT_MAX);
    char *path = cold(argv[2]);
    char **args = calloc((size_t)argc, sizeof *args);
    char code[8];
    tell_path(argv[2]);
    args[0] = argv[2];
    for (long i = 0; i < times; i++) {
        snprintf(code, sizeof code, "%ld", i % 256);
        for (int a = 3; a < argc; a++)
            args[a - 2] = strcmp(argv[a], "%") == 0 ? code : argv[a];
        uint64_t began = now_ns();
        pid_t pid = forked();
        if (pid == 0) {
            execv(path, args);
            _exit(ACTOR_EXEC_FAILED);
        }
        wait_and_tell(pid, began);
    }
    return 0;
}

int do_argv(int argc, char **argv)
{
    (void)argc;
    tell_path(argv[1]);
    uint64_t began = now_ns();
    pid_t pid = forked();
    if (pid == 0) {
        execv(argv[1], argv + 2);
        _exit(ACTOR_EXEC_FAILED);
    }
    return wait_and_tell(pid, began);
}

/* Execs what a descriptor refers to; arguments from `argv`, whose first is the name that stood on the command line. */
static int exec_descriptor(int fd, char **argv)
{
    tell_file(fd);
    uint64_t began = now_ns();
    pid_t pid = forked();
    if (pid == 0) {
        syscall(SYS_execveat, fd, "", argv, environ, AT_EMPTY_PATH);
        _exit(ACTOR_EXEC_FAILED);
    }
    return wait_and_tell(pid, began);
}

int do_memfd(int argc, char **argv)
{
    (void)argc;
    int fd = memfd_create("in-memory", MFD_CLOEXEC);
    if (fd < 0)
        refused("memfd_create");
    copy_into(argv[1], fd);
    return exec_descriptor(fd, argv + 1);
}

int do_unlinked(int argc, char **argv)
{
    (void)argc;
    int fd = open_or_break(argv[1], O_PATH | O_CLOEXEC);
    if (unlink(argv[1]) < 0)
        broken("unlink");
    return exec_descriptor(fd, argv + 1);
}

int do_execveat_fd(int argc, char **argv)
{
    (void)argc;
    return exec_descriptor(open_or_break(argv[1], O_PATH | O_CLOEXEC), argv + 1);
}

int do_procfd(int argc, char **argv)
{
    (void)argc;
    char alias[64];
    int fd = open_or_break(argv[1], O_PATH);
    snprintf(alias, sizeof alias, "/proc/self/fd/%d", fd);
    tell_file(fd);
    dprintf(1, "{\"act\":\"alias\",\"path\":\"%s\"}\n", alias);
    uint64_t began = now_ns();
    pid_t pid = forked();
    if (pid == 0) {
        execv(alias, argv + 1);
        _exit(ACTOR_EXEC_FAILED);
    }
    return wait_and_tell(pid, began);
}

int do_vfork(int argc, char **argv)
{
    (void)argc;
    tell_path(argv[1]);
    uint64_t began = now_ns();
    pid_t pid = vfork();
    if (pid < 0)
        broken("vfork");
    if (pid == 0) {
        execv(argv[1], argv + 1);
        _exit(ACTOR_EXEC_FAILED);
    }
    return wait_and_tell(pid, began);
}

int do_posix_spawn(int argc, char **argv)
{
    (void)argc;
    pid_t pid;
    tell_path(argv[1]);
    uint64_t began = now_ns();
    if (posix_spawn(&pid, argv[1], NULL, NULL, argv + 1, environ) != 0)
        broken("posix_spawn");
    return wait_and_tell(pid, began);
}

int do_deep(int argc, char **argv)
{
    long depth = number(argv[2], 200), len = number(argv[3], 255);
    char name[256];
    memset(name, 'd', sizeof name);
    name[len] = 0;
    if (chdir(argv[1]) < 0)
        broken(argv[1]);
    for (long i = 0; i < depth; i++)
        if (mkdir(name, 0755) < 0 || chdir(name) < 0)
            broken("mkdir or chdir");
    int fd = open("./deepest", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
    if (fd < 0)
        broken("open");
    copy_into("/proc/self/exe", fd);
    close(fd);
    char **args = calloc((size_t)argc + 1, sizeof *args);
    args[0] = "./deepest";
    args[1] = "exit";
    args[2] = "9";
    for (int a = 4; a < argc; a++)
        args[a - 1] = argv[a];
    tell_path("./deepest");
    uint64_t began = now_ns();
    pid_t pid = forked();
    if (pid == 0) {
        execv(args[0], args);
        _exit(ACTOR_EXEC_FAILED);
    }
    return wait_and_tell(pid, began);
}

int do_chain(int argc, char **argv)
{
    (void)argc;
    long left = number(argv[1], COUNT_MAX), code = number(argv[2], 255);
    char next[24];
    if (left == 0)
        return (int)code;
    snprintf(next, sizeof next, "%ld", left - 1);
    char *args[] = {"chain", "chain", next, argv[2], NULL};
    execv("/proc/self/exe", args);
    return ACTOR_EXEC_FAILED;
}

int do_orphan(int argc, char **argv)
{
    (void)argc;
    int gate[2], pids[2];
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
        refused("PR_SET_CHILD_SUBREAPER");
    if (pipe(gate) < 0 || pipe(pids) < 0)
        broken("pipe");
    uint64_t began = now_ns();
    pid_t parent = forked();
    if (parent == 0) {
        pid_t child = forked();
        if (child == 0) {
            char byte;
            close(gate[1]);
            /* Ends with the writer's end: by then the parent is reaped. */
            while (read(gate[0], &byte, 1) > 0)
                ;
            execv(argv[1], argv + 1);
            _exit(ACTOR_EXEC_FAILED);
        }
        if (write(pids[1], &child, sizeof child) != sizeof child)
            broken("write");
        _exit(0);
    }
    pid_t child;
    if (read(pids[0], &child, sizeof child) != sizeof child || waitpid(parent, NULL, 0) != parent)
        broken("no grandchild");
    dprintf(1, "{\"act\":\"ended\",\"pid\":%d}\n", parent);
    close(gate[0]);
    close(gate[1]);
    return wait_and_tell(child, began);
}

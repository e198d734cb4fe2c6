/* Opens whose names are not where they seem to be: through bind mounts, overlays, in a chroot, in mount namespaces of
 * their own, on detached mounts; under names of any bytes; of pipes that a signal interrupts; below folders that are
 * moved meanwhile. */
#include "actor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_open_tree
#define SYS_open_tree 428
#endif
#define OPEN_TREE_CLONE_ 1

static int at(int dir, const char *path, int flags, int mode)
{
    return (int)syscall(SYS_openat, dir, path, flags, mode);
}

/* One line about an open: `path` is what the mount namespace calls the file. */
static void tell(const char *kind, const char *path, const char *requested, int fd)
{
    struct stat file;
    if (fd < 0 || fstat(fd, &file) < 0)
        broken(kind);
    dprintf(1, "{\"act\":\"open\",\"pid\":%d,\"kind\":\"%s\",\"path\":\"%s\",\"requested\":\"%s\",\"fd\":%d,"
               "\"dev\":\"%u:%u\",\"ino\":%llu}\n",
            getpid(), kind, path, requested, fd, major(file.st_dev), minor(file.st_dev),
            (unsigned long long)file.st_ino);
    close(fd);
}

static void folder(const char *path)
{
    if (mkdir(path, 0755) < 0)
        broken(path);
}

static void file(const char *path)
{
    if (mknod(path, S_IFREG | 0644, 0) < 0)
        broken(path);
}

static void bind_(const char *from, const char *to)
{
    if (mount(from, to, NULL, MS_BIND, NULL) < 0)
        refused("a bind mount");
}

/* A mount namespace of the task's own, in which nothing goes to the others. */
static void apart(void)
{
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0)
        refused("unshare");
}

/* Runs it in a child, which may change its root. */
static void in_child(void (*deed)(const char *dir), const char *dir)
{
    int status;
    pid_t pid = fork();
    if (pid < 0)
        broken("fork");
    if (pid == 0) {
        deed(dir);
        _exit(0);
    }
    if (waitpid(pid, &status, 0) < 0)
        broken("waitpid");
    if (status != 0)
        _exit(WIFEXITED(status) ? WEXITSTATUS(status) : ACTOR_BROKEN);
}

static void in_chroot(const char *dir)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/t/jail/in/f", dir);
    if (chdir("t/jail") < 0 || chroot(".") < 0)
        refused("chroot");
    tell("chroot", path, "/in/f", at(AT_FDCWD, "/in/f", O_RDONLY, 0));
    tell("chroot, relative", path, "in/../in/f", at(AT_FDCWD, "in/../in/f", O_RDONLY, 0));
    tell("chroot, no way up", path, "/../../in/f", at(AT_FDCWD, "/../../in/f", O_RDONLY, 0));
}

static void namespaced(const char *dir)
{
    char path[PATH_MAX];
    apart();
    if (mount("none", "own", "tmpfs", 0, NULL) < 0)
        refused("mount");
    file("own/f");
    snprintf(path, sizeof path, "%s/own/f", dir);
    tell("namespace", path, "own/f", at(AT_FDCWD, "own/f", O_RDONLY, 0));
}

static void detached(const char *dir)
{
    (void)dir;
    int tree = (int)syscall(SYS_open_tree, AT_FDCWD, "t/from", OPEN_TREE_CLONE_ | O_CLOEXEC);
    if (tree < 0)
        refused("open_tree");
    tell("open_tree", "/in/f", "in/f", at(tree, "in/f", O_RDONLY, 0));
    /* A whole tree of two mounts, put away while a descriptor keeps it. */
    folder("gone");
    if (mount("none", "gone", "tmpfs", 0, NULL) < 0)
        refused("mount");
    folder("gone/in");
    file("gone/in/f");
    int kept = at(AT_FDCWD, "gone/in", O_PATH | O_DIRECTORY, 0);
    if (kept < 0 || umount2("gone", MNT_DETACH) < 0)
        broken("umount2");
    tell("MNT_DETACH", "/in/f", "f", at(kept, "f", O_RDONLY, 0));
}

/* In a mount namespace of its own: a tmpfs at DIR/t, and folders below DIR. */
static void own_tmpfs(const char *dir, const char *const folders[], size_t count)
{
    if (chdir(dir) < 0)
        broken(dir);
    apart();
    folder("t");
    if (mount("none", "t", "tmpfs", 0, NULL) < 0)
        refused("mount");
    for (size_t i = 0; i < count; i++)
        folder(folders[i]);
}

int do_open_places(int argc, char **argv)
{
    (void)argc;
    const char *dir = argv[1];
    char path[PATH_MAX];
    static const char *const folders[] = {"t/from", "t/from/in", "t/jail", "t/jail/in", "bound", "twice", "own"};
    own_tmpfs(dir, folders, sizeof folders / sizeof *folders);
    file("t/from/in/f");
    file("t/jail/in/f");
    file("one");
    bind_("t/from", "bound");
    bind_("bound/in", "twice");
    bind_("t/from/in/f", "one");
    snprintf(path, sizeof path, "%s/t/from/in/f", dir);
    tell("tmpfs", path, "t/from/in/f", at(AT_FDCWD, "t/from/in/f", O_RDONLY, 0));
    snprintf(path, sizeof path, "%s/bound/in/f", dir);
    tell("bound folder", path, "bound/in/f", at(AT_FDCWD, "bound/in/f", O_RDONLY, 0));
    snprintf(path, sizeof path, "%s/twice/f", dir);
    tell("bound again", path, path, at(AT_FDCWD, path, O_RDONLY, 0));
    snprintf(path, sizeof path, "%s/one", dir);
    tell("bound file", path, "one", at(AT_FDCWD, "one", O_RDONLY, 0));
    in_child(in_chroot, dir);
    in_child(namespaced, dir);
    detached(dir);
    return 0;
}

/* Another root of the whole namespace, the old one put away. */
int do_open_pivoted(int argc, char **argv)
{
    (void)argc;
    own_tmpfs(argv[1], NULL, 0);
    if (chdir("t") < 0)
        broken("t");
    folder("in");
    file("in/f");
    int below = at(AT_FDCWD, "in", O_PATH | O_DIRECTORY, 0);
    if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        refused("pivot_root");
    tell("absolute", "/in/f", "/in/f", at(AT_FDCWD, "/in/f", O_RDONLY, 0));
    tell("dirfd", "/in/f", "f", at(below, "f", O_RDONLY, 0));
    return 0;
}

int do_open_overlay(int argc, char **argv)
{
    (void)argc;
    const char *dir = argv[1];
    char path[PATH_MAX], options[3 * PATH_MAX + 64];
    static const char *const folders[] = {"t/lower", "t/lower/in", "t/upper", "t/work", "merged"};
    own_tmpfs(dir, folders, sizeof folders / sizeof *folders);
    file("t/lower/in/f");
    snprintf(options, sizeof options, "lowerdir=%s/t/lower,upperdir=%s/t/upper,workdir=%s/t/work", dir, dir, dir);
    if (mount("overlay", "merged", "overlay", 0, options) < 0)
        refused("an overlay mount");
    snprintf(path, sizeof path, "%s/merged/in/f", dir);
    tell("lower", path, "merged/in/f", at(AT_FDCWD, "merged/in/f", O_RDONLY, 0));
    tell("copied up", path, "merged/in/f", at(AT_FDCWD, "merged/in/f", O_RDWR, 0));
    tell("after it", path, "merged/in/f", at(AT_FDCWD, "merged/in/f", O_RDONLY, 0));
    snprintf(path, sizeof path, "%s/merged/new", dir);
    tell("made", path, "merged/new", at(AT_FDCWD, "merged/new", O_CREAT | O_RDWR, 0600));
    return 0;
}

int do_open_each(int argc, char **argv)
{
    /* The names can be anything, so they are told by their number. */
    for (int i = 1; i < argc; i++) {
        char kind[16];
        file(argv[i]);
        snprintf(kind, sizeof kind, "%d", i - 1);
        tell(kind, "", "", at(AT_FDCWD, argv[i], O_RDONLY, 0));
        /* And one that fails. */
        if (at(AT_FDCWD, argv[i], O_CREAT | O_EXCL | O_WRONLY, 0600) >= 0 || errno != EEXIST)
            broken("an open that should fail");
    }
    return 0;
}

static volatile sig_atomic_t alarms;

static void count(int signal)
{
    (void)signal;
    alarms++;
}

static void alarm_each_ms(long ms)
{
    struct itimerval every = {.it_interval = {0, ms * 1000}, .it_value = {0, ms * 1000}};
    if (setitimer(ITIMER_REAL, &every, NULL) < 0)
        broken("setitimer");
}

/* Waits until the task sleeps. */
static void until_asleep(pid_t pid)
{
    char path[64], stat[512] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    for (const char *state = NULL; !state || state[2] != 'S'; state = strrchr(stat, ')')) {
        usleep(1000);
        int fd = at(AT_FDCWD, path, O_RDONLY, 0);
        if (fd < 0 || read(fd, stat, sizeof stat - 1) <= 0)
            broken(path);
        close(fd);
    }
}

/* A pipe that nobody writes to keeps its reader in the call. */
int do_interrupted_opens(int argc, char **argv)
{
    (void)argc;
    const char *pipe_ = argv[1];
    long times = number(argv[2], 1000);
    struct sigaction action = {.sa_handler = count};
    if (mkfifo(pipe_, 0600) < 0)
        broken(pipe_);
    sigaction(SIGALRM, &action, NULL);
    for (long i = 0; i < times; i++) {
        alarm_each_ms(20);
        int fd = at(AT_FDCWD, pipe_, O_RDONLY, 0);
        if (fd >= 0 || errno != EINTR)
            broken("an open that a signal ends");
        alarm_each_ms(0);
        dprintf(1, "{\"act\":\"interrupted\",\"pid\":%d,\"errno\":%d}\n", getpid(), EINTR);
    }
    action.sa_flags = SA_RESTART;
    sigaction(SIGALRM, &action, NULL);
    for (long i = 0; i < times; i++) {
        int before = alarms, status;
        pid_t self = getpid(), writer = fork();
        if (writer < 0)
            broken("fork");
        if (writer == 0) {
            /* Three signals reach the call, then it comes back. */
            for (int j = 0; j < 3; j++) {
                until_asleep(self);
                kill(self, SIGALRM);
            }
            until_asleep(self);
            _exit(at(AT_FDCWD, pipe_, O_WRONLY, 0) < 0);
        }
        int fd = at(AT_FDCWD, pipe_, O_RDONLY, 0);
        int came = alarms - before;
        if (waitpid(writer, &status, 0) < 0 || status != 0 || came != 3)
            broken("an open that goes on after three signals");
        tell("restarted", pipe_, pipe_, fd);
    }
    return 0;
}

/* The folders o1/m and z/elsewhere are one, and o1 is o2 only while m is not in it. So o2/m, z/m and o1/elsewhere never
 * are. */
static char moved_dir[PATH_MAX];
static int moving = 1;

static void *mover(void *nothing)
{
    int dir = at(AT_FDCWD, moved_dir, O_PATH | O_DIRECTORY, 0);
    while (__atomic_load_n(&moving, __ATOMIC_RELAXED))
        if (renameat(dir, "o1/m", dir, "y/z/elsewhere") < 0 || renameat(dir, "o1", dir, "o2") < 0 ||
            renameat(dir, "o2", dir, "o1") < 0 || renameat(dir, "y/z/elsewhere", dir, "o1/m") < 0)
            broken("renameat");
    return nothing;
}

int do_moved_opens(int argc, char **argv)
{
    (void)argc;
    long times = number(argv[2], 1000000);
    pthread_t thread;
    snprintf(moved_dir, sizeof moved_dir, "%s", argv[1]);
    if (chdir(moved_dir) < 0)
        broken(moved_dir);
    folder("o1");
    folder("y");
    folder("y/z");
    folder("o1/m");
    folder("o1/m/in");
    file("o1/m/in/f");
    int below = at(AT_FDCWD, "o1/m/in", O_PATH | O_DIRECTORY, 0);
    if (pthread_create(&thread, NULL, mover, NULL) != 0)
        broken("pthread_create");
    for (long i = 0; i < times; i++) {
        int fd = at(below, "f", O_RDONLY, 0);
        if (fd < 0)
            broken("f");
        close(fd);
    }
    __atomic_store_n(&moving, 0, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    dprintf(1, "{\"act\":\"moved\",\"pid\":%d}\n", getpid());
    return 0;
}

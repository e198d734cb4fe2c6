/* Where what is seen is easily taken for something else: files to which no path leads. */
#include "actor.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void folder(const char *path)
{
    if (mkdir(path, 0755) < 0)
        broken(path);
}

/* Namespaces have no name; of a folder that was moved out of what a bind mount shows, that mount knows none. */
int do_placeless(int argc, char **argv)
{
    (void)argc;
    if (chdir(argv[1]) < 0)
        broken(argv[1]);
    tell_open("net", "", "/proc/self/ns/net", syscall(SYS_openat, AT_FDCWD, "/proc/self/ns/net", O_RDONLY), 0);
    tell_open("pid", "", "/proc/self/ns/pid", syscall(SYS_openat, AT_FDCWD, "/proc/self/ns/pid", O_RDONLY), 0);
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0)
        refused("unshare");
    folder("shown");
    folder("shown/in");
    folder("other");
    folder("bound");
    if (mknod("shown/in/f", S_IFREG | 0644, 0) < 0 || mount("shown", "bound", NULL, MS_BIND, NULL) < 0)
        refused("a bind mount");
    int in = (int)syscall(SYS_openat, AT_FDCWD, "bound/in", O_PATH | O_DIRECTORY);
    if (in < 0 || rename("shown/in", "other/in") < 0)
        broken("rename");
    tell_open("moved", "", "f", syscall(SYS_openat, in, "f", O_RDONLY), 0);
    return 0;
}

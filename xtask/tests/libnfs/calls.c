/*
 * Calls the functions of libnfs that modify files and directories. "calls URL NAMES" makes a tree in the export at URL, with
 * NAMES files in one directory, and removes half of these. At the first unexpected result the program prints the call on stderr
 * and exits with 1. The caller compares the remaining tree with the host's.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/time.h>
#include <unistd.h>
#include <nfsc/libnfs.h>

static struct nfs_context *nfs;

static void check(bool good, int line, const char *what, int result)
{
	if (good)
		return;
	fprintf(stderr, "line %d: %s gave %d: %s\n", line, what, result, nfs_get_error(nfs));
	exit(1);
}

/* Makes the call; exits with 1 if it returns another value than `expected`. */
#define GIVES(expected, call) \
	do { int result = (call); check(result == (expected), __LINE__, #call, result); } while (0)
#define HOLDS(condition) check((condition), __LINE__, #condition, 0)

static struct nfsfh *opened(const char *path, int flags)
{
	struct nfsfh *file;

	GIVES(0, nfs_open(nfs, path, flags, &file));
	return file;
}

static void has(const char *path, const char *data, size_t len)
{
	struct nfsfh *file = opened(path, O_RDONLY);
	char *found = malloc(len + 1);

	GIVES((int)len, nfs_read(nfs, file, len + 1, found));
	HOLDS(memcmp(found, data, len) == 0);
	GIVES(0, nfs_close(nfs, file));
	free(found);
}

static uint64_t size(const char *path)
{
	struct nfs_stat_64 st;

	GIVES(0, nfs_stat64(nfs, path, &st));
	return st.nfs_size;
}

static void files(void)
{
	struct nfsfh *file;

	GIVES(0, nfs_mkdir2(nfs, "/files", 0755));
	GIVES(-EEXIST, nfs_mkdir(nfs, "/files"));
	GIVES(0, nfs_creat(nfs, "/files/a", 0644, &file));
	GIVES(5, nfs_write(nfs, file, 5, (void *)"hello"));
	GIVES(6, nfs_write(nfs, file, 6, (void *)" world"));
	GIVES(0, nfs_fsync(nfs, file));
	GIVES(3, nfs_pwrite(nfs, file, 1000, 3, (void *)"end"));
	GIVES(0, nfs_close(nfs, file));
	HOLDS(size("/files/a") == 1003);

	GIVES(0, nfs_truncate(nfs, "/files/a", 11));
	has("/files/a", "hello world", 11);
	GIVES(0, nfs_truncate(nfs, "/files/a", 13));
	has("/files/a", "hello world\0\0", 13);
	file = opened("/files/a", O_RDWR);
	GIVES(0, nfs_ftruncate(nfs, file, 4));
	GIVES(4, nfs_pwrite(nfs, file, 4, 4, (void *)" all"));
	GIVES(0, nfs_close(nfs, file));
	has("/files/a", "hell all", 8);
	GIVES(-ENOENT, nfs_truncate(nfs, "/files/none", 1));
	GIVES(-EISDIR, nfs_truncate(nfs, "/files", 1));

	GIVES(-EEXIST, nfs_create(nfs, "/files/a", O_CREAT | O_EXCL, 0644, &file));
	has("/files/a", "hell all", 8);
	file = opened("/files/a", O_WRONLY | O_APPEND);
	GIVES(1, nfs_write(nfs, file, 1, (void *)"!"));
	GIVES(0, nfs_close(nfs, file));
	has("/files/a", "hell all!", 9);
	file = opened("/files/a", O_WRONLY | O_TRUNC);
	GIVES(0, nfs_close(nfs, file));
	HOLDS(size("/files/a") == 0);

	/* An offset beyond 4 GiB. */
	GIVES(0, nfs_creat(nfs, "/files/sparse", 0600, &file));
	GIVES(4, nfs_pwrite(nfs, file, 5ULL << 30, 4, (void *)"last"));
	GIVES(0, nfs_close(nfs, file));
	HOLDS(size("/files/sparse") == (5ULL << 30) + 4);
	file = opened("/files/sparse", O_RDONLY);
	{
		char found[8];

		GIVES(4, nfs_pread(nfs, file, 5ULL << 30, 8, found));
		HOLDS(memcmp(found, "last", 4) == 0);
	}
	GIVES(0, nfs_close(nfs, file));
}

static void names(void)
{
	struct nfsfh *file;
	struct nfs_stat_64 st;
	char target[100];

	GIVES(0, nfs_mkdir(nfs, "/names"));
	GIVES(0, nfs_creat(nfs, "/names/one", 0644, &file));
	GIVES(3, nfs_write(nfs, file, 3, (void *)"one"));
	GIVES(0, nfs_close(nfs, file));
	GIVES(0, nfs_rename(nfs, "/names/one", "/names/two"));
	GIVES(-ENOENT, nfs_rename(nfs, "/names/one", "/names/three"));
	has("/names/two", "one", 3);
	GIVES(0, nfs_rename(nfs, "/names/two", "/files/two"));
	GIVES(0, nfs_rename(nfs, "/files/two", "/names/two"));
	/* RENAME replaces an existing file; a rename onto a directory fails if the source is a file or the target is not empty. */
	GIVES(0, nfs_creat(nfs, "/names/old", 0644, &file));
	GIVES(0, nfs_close(nfs, file));
	GIVES(0, nfs_rename(nfs, "/names/two", "/names/old"));
	has("/names/old", "one", 3);
	GIVES(-EISDIR, nfs_rename(nfs, "/names/old", "/files"));
	GIVES(-ENOTDIR, nfs_rename(nfs, "/names", "/files/a"));
	GIVES(-ENOTEMPTY, nfs_rename(nfs, "/names", "/files"));
	GIVES(-EINVAL, nfs_rename(nfs, "/names", "/names/inside"));

	GIVES(0, nfs_link(nfs, "/names/old", "/names/hard"));
	GIVES(-EEXIST, nfs_link(nfs, "/names/old", "/names/hard"));
	GIVES(0, nfs_stat64(nfs, "/names/hard", &st));
	HOLDS(st.nfs_nlink == 2);
	GIVES(0, nfs_symlink(nfs, "old", "/names/soft"));
	GIVES(0, nfs_readlink(nfs, "/names/soft", target, sizeof target));
	HOLDS(strcmp(target, "old") == 0);
	has("/names/soft", "one", 3);
	GIVES(0, nfs_lstat64(nfs, "/names/soft", &st));
	HOLDS(S_ISLNK(st.nfs_mode));
	GIVES(0, nfs_mknod(nfs, "/names/fifo", S_IFIFO | 0640, 0));
	GIVES(0, nfs_stat64(nfs, "/names/fifo", &st));
	HOLDS(S_ISFIFO(st.nfs_mode));

	GIVES(-ENOTEMPTY, nfs_rmdir(nfs, "/names"));
	GIVES(-ENOTDIR, nfs_rmdir(nfs, "/names/old"));
	GIVES(-ENOENT, nfs_unlink(nfs, "/names/none"));
	GIVES(0, nfs_unlink(nfs, "/names/hard"));
	GIVES(0, nfs_unlink(nfs, "/names/fifo"));
	GIVES(0, nfs_mkdir(nfs, "/names/empty"));
	GIVES(0, nfs_rmdir(nfs, "/names/empty"));
	GIVES(-ENOENT, nfs_rmdir(nfs, "/names/empty"));
}

static void attributes(void)
{
	struct timeval times[2] = { { 1234567890, 123456 }, { 1000000000, 654321 } };
	struct nfs_stat_64 st;
	struct statvfs vfs;
	struct nfsfh *file;

	GIVES(0, nfs_mkdir(nfs, "/attributes"));
	GIVES(0, nfs_creat(nfs, "/attributes/a", 0600, &file));
	GIVES(0, nfs_fchmod(nfs, file, 0640));
	GIVES(0, nfs_fstat64(nfs, file, &st));
	HOLDS((st.nfs_mode & 07777) == 0640);
	GIVES(0, nfs_close(nfs, file));
	GIVES(0, nfs_chmod(nfs, "/attributes/a", 04711));
	GIVES(0, nfs_utimes(nfs, "/attributes/a", times));
	GIVES(0, nfs_stat64(nfs, "/attributes/a", &st));
	HOLDS((st.nfs_mode & 07777) == 04711);
	HOLDS(st.nfs_atime == 1234567890 && st.nfs_atime_nsec == 123456000);
	HOLDS(st.nfs_mtime == 1000000000 && st.nfs_mtime_nsec == 654321000);
	GIVES(0, nfs_statvfs(nfs, "/attributes", &vfs));
	HOLDS(vfs.f_blocks > 0 && vfs.f_bfree <= vfs.f_blocks);

	GIVES(0, nfs_access(nfs, "/attributes/a", R_OK | W_OK | X_OK));
	GIVES(0, nfs_access(nfs, "/attributes", R_OK | W_OK | X_OK));
	GIVES(0, nfs_chmod(nfs, "/attributes/a", 0600));
	GIVES(0, nfs_access(nfs, "/attributes/a", R_OK | W_OK));
	GIVES(-EACCES, nfs_access(nfs, "/attributes/a", X_OK));
	GIVES(R_OK | W_OK, nfs_access2(nfs, "/attributes/a"));
	GIVES(-ENOENT, nfs_access(nfs, "/attributes/none", F_OK));
}

static void many(int count)
{
	struct nfsdir *dir;
	struct nfsdirent *entry;
	struct nfsfh *file;
	char *seen = calloc(count, 1);
	char path[64];
	int found = 0;

	GIVES(0, nfs_mkdir(nfs, "/many"));
	for (int number = 0; number < count; number++) {
		sprintf(path, "/many/file %d", number);
		GIVES(0, nfs_creat(nfs, path, 0644, &file));
		GIVES(0, nfs_close(nfs, file));
	}
	GIVES(0, nfs_opendir(nfs, "/many", &dir));
	while ((entry = nfs_readdir(nfs, dir)) != NULL) {
		int number;

		if (strcmp(entry->name, ".") == 0 || strcmp(entry->name, "..") == 0)
			continue;
		HOLDS(sscanf(entry->name, "file %d", &number) == 1);
		HOLDS(number >= 0 && number < count && !seen[number]);
		HOLDS(S_ISREG(entry->mode) || entry->type == 1);
		seen[number] = 1;
		found++;
	}
	nfs_closedir(nfs, dir);
	GIVES(count, found);
	/* Removes every second file; the others remain. */
	for (int number = 0; number < count; number += 2) {
		sprintf(path, "/many/file %d", number);
		GIVES(0, nfs_unlink(nfs, path));
	}
	GIVES(0, nfs_opendir(nfs, "/many", &dir));
	found = 0;
	while ((entry = nfs_readdir(nfs, dir)) != NULL)
		found += entry->name[0] != '.';
	nfs_closedir(nfs, dir);
	GIVES(count / 2, found);
	free(seen);
}

int main(int argc, char **argv)
{
	struct nfs_url *url;

	if (argc != 3)
		return 2;
	nfs = nfs_init_context();
	url = nfs_parse_url_dir(nfs, argv[1]);
	HOLDS(url != NULL);
	GIVES(0, nfs_mount(nfs, url->server, url->path));
	files();
	names();
	attributes();
	many(atoi(argv[2]));
	nfs_destroy_url(url);
	nfs_destroy_context(nfs);
	return 0;
}

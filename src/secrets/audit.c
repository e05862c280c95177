/*
 * The audit: each access is written down in a file of this node before it is granted. All sessions
 * add to one chain, in turn; when a record cannot be written, nothing is granted.
 */
#include "secrets/secrets.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "miscadmin.h"
#include "pgstat.h"
#include "storage/fd.h"
#include "storage/lwlock.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define MODE_OF_FILE 0600
#define SECONDS_OF_DAY 86400

/* Shared by all processes of the node; guarded by the lock "append". */
typedef struct State
{
	LWLock *append;
	LWLock *sync; /* held by the one that has the file reach the disk; taken before "append" */
	bool is_open;
	bool is_broken; /* until restart_secret_audit() or a restart of the server */
	char problem[240];
	char chain[AURORA_CHAIN_SIZE];
	uint64 generation;
	uint64 first_seq; /* of the file */
	uint64 seq;		  /* of the last record */
	uint64 synced_seq;
	uint8 hash[AURORA_HASH_SIZE];
	int64 offset;
	int64 size_of_others;
	uint64 device;
	uint64 inode;
	uint64 written; /* records since the server started, over all chains */
	uint64 synced;
} State;

static State *state = NULL;
static bool is_on = true;
static int segment_size_kb = 0;
static int size_limit_mb = 0;
static int retention_days = 0;

/* The file that this process has open. */
static int own_fd = -1;
static uint64 own_device = 0;
static uint64 own_inode = 0;

/* ---- trouble ---- */

static bool
fail(bool for_good, const char *what, const char *reason)
{
	state->is_broken = state->is_broken || for_good;
	snprintf(state->problem, sizeof(state->problem), "%.150s: %.80s", what, reason);
	return false;
}

/* ---- the file ---- */

static bool
note_file(int fd)
{
	struct stat status;

	if (fstat(fd, &status) != 0)
		return false;
	own_device = status.st_dev;
	own_inode = status.st_ino;
	return true;
}

static void
close_own(void)
{
	if (own_fd < 0)
		return;
	close(own_fd);
	ReleaseExternalFD();
	own_fd = -1;
}

static bool
open_own(int flags)
{
	char path[AURORA_AUDIT_PATH_SIZE];

	close_own();
	aurora_audit_path(state->generation, path);
	ReserveExternalFD();
	own_fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | flags, MODE_OF_FILE);
	if (own_fd >= 0 && note_file(own_fd))
		return true;
	if (own_fd < 0)
		ReleaseExternalFD();
	else
		close_own();
	return false;
}

/*
 * Has this process open what the others write to.
 */
static bool
have_file(void)
{
	if (own_fd >= 0 && own_device == state->device && own_inode == state->inode)
		return true;
	if (!open_own(0))
		return fail(true, "the audit file cannot be opened", strerror(errno));
	if (own_device != state->device || own_inode != state->inode)
		return fail(true, "the audit file", "another is in its place");
	return true;
}

/*
 * Is the file that is written still the one on disk, and as long as it was left.
 */
static bool
file_is_as_left(void)
{
	static char path[AURORA_AUDIT_PATH_SIZE];
	static uint64 path_generation = 0;
	struct stat status;

	if (path_generation != state->generation)
	{
		aurora_audit_path(state->generation, path);
		path_generation = state->generation;
	}
	if (lstat(path, &status) != 0)
		return fail(true, "the audit file is gone", strerror(errno));
	if ((uint64) status.st_dev != state->device || (uint64) status.st_ino != state->inode)
		return fail(true, "the audit file", "another is in its place");
	if (status.st_size != state->offset)
		return fail(true, "the audit file",
					status.st_size < state->offset ? "its end is cut off"
												   : "somebody else has written to it");
	return true;
}

static void
write_hex(const uint8 *bytes, int count, char *text)
{
	static const char digits[] = "0123456789abcdef";

	for (int i = 0; i < count; i++)
	{
		text[2 * i] = digits[bytes[i] >> 4];
		text[2 * i + 1] = digits[bytes[i] & 15];
	}
}

static bool
write_at_end(const char *text, size_t size)
{
	ssize_t written;

	errno = 0;
	written = pwrite(own_fd, text, size, state->offset);
	if (written == (ssize_t) size)
	{
		state->offset += written;
		return true;
	}
	/* What came of it must not stay: the next record begins where this one did. */
	(void) fail(false, "the audit file cannot be written", strerror(errno ? errno : ENOSPC));
	if (written > 0 && ftruncate(own_fd, state->offset) != 0)
		return fail(true, "the audit file cannot be cut back", strerror(errno));
	return false;
}

/*
 * Makes the next file of the chain, with its first line.
 */
static bool
begin_file(void)
{
	char previous[2 * AURORA_HASH_SIZE + 1] = {0};
	char head[512];

	state->generation++;
	if (!open_own(O_CREAT | O_EXCL))
		return fail(false, "an audit file cannot be made", strerror(errno));
	state->device = own_device;
	state->inode = own_inode;
	state->first_seq = state->seq + 1;
	state->offset = 0;
	write_hex(state->hash, AURORA_HASH_SIZE, previous);
	snprintf(head, sizeof(head),
			 "{\"chain\":\"%s\",\"node\":\"%s\",\"generation\":%llu,\"first_seq\":%llu,"
			 "\"previous\":\"%s\"}\n",
			 state->chain, aurora_node_name(), (unsigned long long) state->generation,
			 (unsigned long long) state->first_seq, previous);
	if (!write_at_end(head, strlen(head)))
		return false;
	if (pg_fsync(own_fd) != 0 || fsync_fname_ext(aurora_audit_directory(), true, false, LOG) != 0)
		return fail(false, "the audit file cannot be synced", strerror(errno));
	return true;
}

static bool
next_file(void)
{
	if (pg_fdatasync(own_fd) != 0)
		return fail(true, "the audit file cannot be synced", strerror(errno));
	state->synced = state->written;
	state->synced_seq = state->seq;
	state->size_of_others += state->offset;
	state->is_open = false; /* when there is no next file, the next record looks for one anew */
	state->is_open = begin_file();
	return state->is_open;
}

/* ---- a record ---- */

/*
 * Now, as ISO 8601 in UTC.
 */
static int
write_time(char *text, size_t size)
{
	static pg_time_t last = -1;
	static char seconds[32];
	TimestampTz now = GetCurrentTimestamp();
	pg_time_t second = timestamptz_to_time_t(now);
	int us = (int) (now - time_t_to_timestamptz(second));
	char digits[6];

	if (us < 0)
	{
		second--;
		us += USECS_PER_SEC;
	}
	if (second != last)
	{
		struct pg_tm *tm = pg_gmtime(&second);

		snprintf(seconds, sizeof(seconds), "%04d-%02d-%02dT%02d:%02d:%02d", tm->tm_year + 1900,
				 tm->tm_mon + 1, tm->tm_mday, tm->tm_hour, tm->tm_min, tm->tm_sec);
		last = second;
	}
	for (int i = 5; i >= 0; i--, us /= 10)
		digits[i] = (char) ('0' + us % 10);
	return snprintf(text, size, "%s.%.6sZ", seconds, digits);
}

static bool
write_record(const char *fields)
{
	static char line[AURORA_AUDIT_LINE_SIZE];
	size_t room = sizeof(line) - 2 * AURORA_HASH_SIZE - 100; /* beside the hash, number and time */
	size_t fields_size = strlen(fields);
	uint8 hash[AURORA_HASH_SIZE];
	char at[48];
	int size;

	if (fields_size > room)
		return fail(false, "the audit file", "the record is too long");
	(void) write_time(at, sizeof(at));
	size = snprintf(line, 100, "{\"seq\":%llu,\"at\":\"%s\",", (unsigned long long) state->seq + 1,
					at);
	memcpy(line + size, fields, fields_size);
	size += (int) fields_size;
	aurora_audit_hash(state->hash, line, size, hash);
	memcpy(line + size, ",\"hash\":\"", 9);
	write_hex(hash, AURORA_HASH_SIZE, line + size + 9);
	size += 9 + 2 * AURORA_HASH_SIZE;
	memcpy(line + size, "\"}\n", 3);
	size += 3;
	if (!file_is_as_left() || !have_file())
		return false;
	if (state->offset + size > segment_size_kb * 1024L && state->seq >= state->first_seq &&
		!next_file())
		return false;
	if (state->size_of_others + state->offset + size > size_limit_mb * 1024L * 1024L)
		return fail(false, "the audit files",
					"they have reached aurora.secret_audit_size_limit and wait for the lead");
	if (!write_at_end(line, size))
		return false;
	memcpy(state->hash, hash, sizeof(hash));
	state->seq++;
	state->written++;
	if (!state->is_broken)
		state->problem[0] = '\0';
	return true;
}

/* ---- opening the chain ---- */

static bool
begin_chain(const char *reason)
{
	AuroraAuditEvent event = {.action = AURORA_SECRET_BEGIN, .detail = reason};
	uint8 random[(AURORA_CHAIN_SIZE - 1) / 2];

	if (!pg_strong_random(random, sizeof(random)))
		return fail(false, "an audit chain cannot be begun", "no random number");
	write_hex(random, sizeof(random), state->chain);
	state->chain[AURORA_CHAIN_SIZE - 1] = '\0';
	memset(state->hash, 0, sizeof(state->hash));
	state->seq = state->synced_seq = 0;
	if (!begin_file())
		return false;
	return write_record(aurora_audit_fields(&event));
}

/*
 * Why the chain in the last file cannot be gone on with, or NULL.
 */
static const char *
trouble_of_chain(const AuroraAuditFile *file, List *heads)
{
	uint64 head = aurora_audit_head_of(heads, file->chain);

	if (file->bad_seq != 0 && !file->torn)
		return psprintf("record %llu of chain %s does not hold", (unsigned long long) file->bad_seq,
						file->chain);
	if (file->last_seq < head)
		return psprintf("chain %s ends with record %llu, but the lead has had record %llu",
						file->chain, (unsigned long long) file->last_seq,
						(unsigned long long) head);
	return NULL;
}

/*
 * Finds the last file, checks it, and goes on with its chain in a new file; or begins a chain.
 */
static bool
open_chain(List *heads, const char *restart_reason)
{
	uint64 *generations = NULL;
	AuroraAuditFile file = {0};
	const char *reason = restart_reason;
	bool found = false;
	int count;

	if (mkdir(aurora_audit_directory(), 0700) != 0 && errno != EEXIST)
		return fail(false, "the folder for the audit cannot be made", strerror(errno));
	count = aurora_audit_generations(&generations, &state->size_of_others);
	if (count < 0)
		return fail(false, "the folder for the audit cannot be read", strerror(errno));
	/* A number is not used again when its file is gone: somebody may have that one open. */
	if (count > 0)
		state->generation = Max(state->generation, generations[count - 1]);
	for (int i = count - 1; i >= 0 && !found; i--)
		found = aurora_audit_read_file(generations[i], &file);
	if (!reason && found)
		reason = trouble_of_chain(&file, heads);
	if (!reason && !found && (count > 0 || heads != NIL))
		reason = "the files of the chain before are gone";
	if (!found || reason)
	{
		if (reason)
			ereport(WARNING, (errcode(ERRCODE_DATA_CORRUPTED),
							  errmsg("a new chain of the audit of secrets is begun"),
							  errdetail("Reason: %s.", reason)));
		state->is_open = begin_chain(reason ? reason : "it is the first");
		return state->is_open;
	}
	strlcpy(state->chain, file.chain, sizeof(state->chain));
	memcpy(state->hash, file.hash, sizeof(state->hash));
	state->seq = state->synced_seq = file.last_seq;
	state->is_open = begin_file();
	return state->is_open;
}

/* ---- appending ---- */

static void
refuse_access(const char *problem, bool is_broken)
{
	bool is_full = strstr(problem, strerror(ENOSPC)) || strstr(problem, "size_limit");

	ereport(ERROR,
			(errcode(is_full ? ERRCODE_DISK_FULL : ERRCODE_IO_ERROR),
			 errmsg("the access could not be written down, so it is refused"),
			 errdetail("What is wrong: %s.", problem),
			 is_broken ? errhint("See what happened to the files in aurora.secret_audit_directory; "
								 "then aurora.restart_secret_audit() begins a new chain.")
					   : errhint("It is tried again at the next access.")));
}

void
aurora_audit_append(const char *fields, bool strict)
{
	List *heads = NIL;
	char problem[sizeof(state->problem)];
	bool is_broken;
	bool written;

	if (!is_on)
		return;
	if (!state->is_open)
		heads = aurora_audit_heads(); /* a table is read before the lock is taken */
	LWLockAcquire(state->append, LW_EXCLUSIVE);
	written =
		!state->is_broken && (state->is_open || open_chain(heads, NULL)) && write_record(fields);
	is_broken = state->is_broken;
	strlcpy(problem, state->problem, sizeof(problem));
	LWLockRelease(state->append);
	if (!written)
		refuse_access(problem, is_broken);
	if (strict)
		aurora_audit_require_sync();
}

void
aurora_audit_require_sync(void)
{
	if (is_on && !aurora_audit_sync())
		refuse_access("the audit file cannot be synced", true);
}

void
aurora_audit_event(const AuroraAuditEvent *event)
{
	char *fields;

	if (!is_on)
		return;
	fields = aurora_audit_fields(event);
	aurora_audit_append(fields, false);
	pfree(fields);
}

/*
 * Those who come while another syncs find that it has synced theirs too, or sync for all who wait.
 */
bool
aurora_audit_sync(void)
{
	uint64 target;
	uint64 target_seq;
	bool done = true;
	int error = 0;

	LWLockAcquire(state->append, LW_SHARED);
	target = state->written;
	LWLockRelease(state->append);
	LWLockAcquire(state->sync, LW_EXCLUSIVE);
	LWLockAcquire(state->append, LW_EXCLUSIVE);
	if (state->synced >= target || !state->is_open)
		done = state->synced >= target;
	else
	{
		target = state->written;
		target_seq = state->seq;
		done = have_file();
		LWLockRelease(state->append);
		if (done)
		{
			done = pg_fdatasync(own_fd) == 0;
			error = errno;
		}
		LWLockAcquire(state->append, LW_EXCLUSIVE);
		if (error != 0 && !done)
			(void) fail(true, "the audit file cannot be synced", strerror(error));
		else if (done && state->synced < target)
		{
			state->synced = target;
			state->synced_seq = Min(target_seq, state->seq);
		}
	}
	LWLockRelease(state->append);
	LWLockRelease(state->sync);
	return done;
}

/* ---- looking after ---- */

/*
 * Deletes the oldest files that the lead has all of: those that are old, and more when the files
 * come near their limit. One that does not hold is kept as it is.
 */
static void
delete_old_files(List *heads)
{
	int64 limit = size_limit_mb * 1024L * 1024L * 8 / 10;
	uint64 *generations;
	int64 total;
	int count = aurora_audit_generations(&generations, &total);

	for (int i = 0; i < count && generations[i] < state->generation; i++)
	{
		char path[AURORA_AUDIT_PATH_SIZE];
		AuroraAuditFile file;
		struct stat status;

		aurora_audit_path(generations[i], path);
		if (stat(path, &status) != 0)
			continue;
		if (total <= limit && status.st_mtime > time(NULL) - retention_days * SECONDS_OF_DAY)
			break;
		if (!aurora_audit_read_file(generations[i], &file) || (file.bad_seq != 0 && !file.torn))
			continue;
		if (file.last_seq > aurora_audit_head_of(heads, file.chain))
			break;
		if (unlink(path) == 0)
			total -= status.st_size;
	}
	LWLockAcquire(state->append, LW_EXCLUSIVE);
	if (count >= 0 && state->is_open)
		state->size_of_others = Max(total - state->offset, 0);
	LWLockRelease(state->append);
}

void
aurora_audit_look_after(void)
{
	List *heads;
	bool is_open;

	if (!is_on)
		return;
	heads = aurora_audit_heads();
	LWLockAcquire(state->append, LW_EXCLUSIVE);
	if (!state->is_broken)
		is_open = state->is_open ? file_is_as_left() : open_chain(heads, NULL);
	else
		is_open = false;
	LWLockRelease(state->append);
	if (is_open)
		delete_old_files(heads);
}

AuroraAuditStatus
aurora_audit_status(void)
{
	AuroraAuditStatus status = {.is_on = is_on};

	LWLockAcquire(state->append, LW_SHARED);
	status.is_open = state->is_open;
	status.is_broken = state->is_broken;
	strlcpy(status.problem, state->problem, sizeof(status.problem));
	strlcpy(status.chain, state->chain, sizeof(status.chain));
	status.generation = state->generation;
	status.last_seq = state->seq;
	status.synced_seq = state->synced_seq;
	status.size = state->size_of_others + state->offset;
	LWLockRelease(state->append);
	return status;
}

bool
aurora_audit_restart(const char *reason)
{
	List *heads = aurora_audit_heads();
	bool begun;

	LWLockAcquire(state->append, LW_EXCLUSIVE);
	state->is_open = false;
	state->is_broken = false;
	begun = open_chain(heads, reason);
	LWLockRelease(state->append);
	return begun;
}

/* ---- setting up ---- */

static void
set_up_state(void *memory)
{
	LWLockPadded *locks = GetNamedLWLockTranche("aurora_secret_audit");

	state = memory;
	state->append = &locks[0].lock;
	state->sync = &locks[1].lock;
}

void
aurora_audit_init(void)
{
	GucContext at_start = aurora_preloaded ? PGC_POSTMASTER : PGC_SIGHUP;

	aurora_audit_file_init();
	DefineCustomBoolVariable("aurora.secret_audit", "Writes each access to secrets down.", NULL,
							 &is_on, true, at_start, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"aurora.secret_audit_segment_size", "Size at which the next file of the audit is begun.",
		NULL, &segment_size_kb, 16384, 64, 1024 * 1024, PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"aurora.secret_audit_size_limit", "Size that the files of the audit may have together.",
		"Files that the lead has all of are deleted in time. When what it has "
		"not had reaches this, secrets are refused.",
		&size_limit_mb, 1024, 1, 1024 * 1024, PGC_SIGHUP, GUC_UNIT_MB, NULL, NULL, NULL);
	DefineCustomIntVariable("aurora.secret_audit_file_retention",
							"Days for which a node keeps files of the audit that the lead has.",
							NULL, &retention_days, 30, 0, 3650, PGC_SIGHUP, 0, NULL, NULL, NULL);
	if (aurora_preloaded)
		aurora_memory_add("aurora_secret_audit", sizeof(State), 2, set_up_state);
}

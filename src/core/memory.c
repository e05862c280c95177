/*
 * Shared memory: each part of the library asks for a piece at load time, and is handed it, zeroed
 * once, in every process. Pieces never hold pointers into one process's memory.
 */
#include "core/core.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#define MAX_PIECES 16

typedef struct Piece
{
	const char *name; /* also of its lock tranche */
	Size size;
	int locks;
	void (*set_up)(void *memory);
} Piece;

static Piece pieces[MAX_PIECES];
static int piece_count = 0;
static Size reserved = 0;
static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;

void
aurora_memory_add(const char *name, Size size, int locks, void (*set_up)(void *memory))
{
	if (piece_count == MAX_PIECES)
		elog(ERROR, "too many pieces of shared memory");
	pieces[piece_count++] = (Piece) {.name = name, .size = size, .locks = locks, .set_up = set_up};
}

void
aurora_memory_reserve(Size size)
{
	reserved = add_size(reserved, size);
}

static void
request_pieces(void)
{
	if (previous_request_hook)
		previous_request_hook();
	RequestAddinShmemSpace(reserved);
	for (int i = 0; i < piece_count; i++)
	{
		RequestAddinShmemSpace(pieces[i].size);
		if (pieces[i].locks > 0)
			RequestNamedLWLockTranche(pieces[i].name, pieces[i].locks);
	}
}

static void
set_up_pieces(void)
{
	if (previous_startup_hook)
		previous_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	for (int i = 0; i < piece_count; i++)
	{
		bool found;
		void *memory = ShmemInitStruct(pieces[i].name, pieces[i].size, &found);

		if (!found)
			memset(memory, 0, pieces[i].size);
		pieces[i].set_up(memory);
	}
	LWLockRelease(AddinShmemInitLock);
}

void
aurora_memory_init(void)
{
	if (!aurora_preloaded)
		return;
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = request_pieces;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = set_up_pieces;
}

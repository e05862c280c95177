/*
 * Backups to recover from.
 */
#include "tests/backup.h"

#include <stdlib.h>
#include <string.h>

#include "recover/dump.h"
#include "recover/message.h"
#include "shared/base64url.h"
#include "tests/tap.h"

Key master, other_master, key_1, key_2;

const Wish everything = {.service = "*", .all_versions = true};
const Wish current = {.service = "*"};

static void
make_key(Key *key)
{
	uint8_t bytes[AURORA_FERNET_KEY_SIZE];

	memset(key, 0, sizeof(*key));
	random_bytes(bytes, sizeof(bytes));
	aurora_base64url_encode(bytes, sizeof(bytes), key->text);
	if (!aurora_fernet_open(&key->fernet, bytes))
		abort();
}

char *
backup_token(Key *key, const void *value, size_t size)
{
	size_t token_size = aurora_fernet_token_size(size);
	uint8_t *scratch = malloc(aurora_fernet_scratch_size(token_size));
	char *token = calloc(1, token_size + 1);
	uint8_t iv[AURORA_FERNET_IV_SIZE];

	random_bytes(iv, sizeof(iv));
	if (!aurora_fernet_encrypt(&key->fernet, value, size, 499162800, iv, scratch, token))
		abort();
	free(scratch);
	return token;
}

void
backup_add(Buffer *to, const char *text)
{
	while (*text)
	{
		const char *end = *text == '{' ? strchr(text, '}') : NULL;
		Key *key = text[1] == '1' ? &key_1 : &key_2;
		char *token;

		if (end == NULL || !strchr("mo12", text[1]))
		{
			buffer_add_char(to, *text++);
			continue;
		}
		if (text[1] == 'm' || text[1] == 'o')
			token =
				backup_token(text[1] == 'm' ? &master : &other_master,
							 text[2] == '1' ? key_1.text : key_2.text, AURORA_FERNET_KEY_TEXT_SIZE);
		else
			token = backup_token(key, text + 3, (size_t) (end - text - 3));
		buffer_add_text(to, token);
		free(token);
		text = end + 1;
	}
}

void
backup_begin(void)
{
	message_is_quiet = true;
	make_key(&master);
	make_key(&other_master);
	make_key(&key_1);
	make_key(&key_2);
}

void
backup_end(void)
{
	aurora_fernet_close(&master.fernet);
	aurora_fernet_close(&other_master.fernet);
	aurora_fernet_close(&key_1.fernet);
	aurora_fernet_close(&key_2.fernet);
}

char *
backup_recover(Stores *stores, const Wish *wish, const char *keys)
{
	Output output = {.fd = NO_FILE};
	KeyRing ring = {0};

	(void) keys_add(&ring, keys, strlen(keys), "keys");
	buffer_add_text(&output.buffer, "");
	for (size_t i = 0; i < stores->count; i++)
		recover_store(stores->list[i], &ring, wish, &output);
	stores_free(stores);
	keys_close(&ring);
	return output.buffer.bytes;
}

char *
backup_recover_dump(const char *text, size_t size, size_t piece, const Wish *wish, const char *keys)
{
	Stores stores = {.now = NOW, .keeps_all = wish->all_versions};
	Dump dump;

	dump_open(&dump, &stores);
	for (size_t at = 0; at < size;)
	{
		size_t taken = piece > 0 ? piece : 1 + random_below(40);
		char *copy;

		taken = taken < size - at ? taken : size - at;
		copy = malloc(taken); /* of exactly that size, for the address sanitizer */
		memcpy(copy, text + at, taken);
		(void) dump_take(&dump, copy, taken);
		free(copy);
		at += taken;
	}
	dump_close(&dump);
	return backup_recover(&stores, wish, keys);
}

void
gives(const char *text, const Wish *wish, const char *expected, unsigned long problems,
	  const char *name)
{
	unsigned long before = message_problems();
	Buffer dump = {0};
	char *found;

	backup_add(&dump, text);
	found = backup_recover_dump(dump.bytes, dump.size, 0, wish, master.text);
	is(found, expected, name);
	ok(message_problems() - before == problems, "... with %lu problems (%lu)", problems,
	   message_problems() - before);
	free(found);
	buffer_wipe(&dump);
}

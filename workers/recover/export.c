/*
 * Reads encrypted exports.
 */
#include "recover/export.h"

#include <jansson.h>
#include <string.h>

#include "common/memory.h"
#include "recover/message.h"
#include "recover/text.h"

static const char *
text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

static bool
number_of(const json_t *object, const char *key, int64_t *number)
{
	const json_t *value = json_object_get(object, key);

	*number = json_integer_value(value);
	return json_is_integer(value);
}

static bool
take_data_key(Store *store, const json_t *object)
{
	const char *master_key_id = text_of(object, "master_key_id");
	const char *wrapped = text_of(object, "wrapped");
	DataKey *key;
	int64_t key_no;

	if (!number_of(object, "key_no", &key_no) || master_key_id == NULL || wrapped == NULL)
		return false;
	key = store_add_data_key(store);
	key->key_no = key_no;
	key->master_key_id = memory_copy(master_key_id);
	key->wrapped = memory_copy(wrapped);
	return true;
}

static bool
has_expired(const Store *store, const json_t *object)
{
	const char *text = text_of(object, "expires_at");
	int64_t expires_at;

	if (text == NULL)
		return false;
	if (!text_time(text, &expires_at))
	{
		message_problem("a secret in the export expires at a time that cannot be read");
		return false;
	}
	return expires_at <= store->now;
}

/*
 * A secret has one version here, and its number is its place.
 */
static bool
take_secret(Store *store, const json_t *object)
{
	const char *service = text_of(object, "service");
	const char *key_name = text_of(object, "key_name");
	const char *token = text_of(object, "token");
	Secret *secret;
	Version *version;
	int64_t number;
	int64_t key_no;

	if (service == NULL || key_name == NULL || token == NULL ||
		!number_of(object, "version", &number) || !number_of(object, "key_no", &key_no))
		return false;
	secret = store_add_secret(store);
	secret->secret_id = (int64_t) store->secret_count;
	secret->service = memory_copy(service);
	secret->key_name = memory_copy(key_name);
	secret->node = memory_copy(text_of(object, "node"));
	secret->company = memory_copy(text_of(object, "company"));
	secret->version = number;
	version = store_add_version(store);
	version->secret_id = secret->secret_id;
	version->version = number;
	version->key_no = key_no;
	version->token = memory_copy(token);
	version->is_expired = has_expired(store, object);
	return true;
}

static bool
take_export(Stores *stores, const json_t *export)
{
	const char *format = text_of(export, "format");
	const json_t *keys = json_object_get(export, "keys");
	const json_t *secrets = json_object_get(export, "secrets");
	Store *store;

	if (format == NULL || strcmp(format, EXPORT_FORMAT) != 0 || !json_is_array(keys) ||
		!json_is_array(secrets))
		return false;
	store = stores_add(stores, NULL);
	for (int i = 0; i < TABLE_COUNT; i++)
		store->has_table[i] = true;
	for (size_t i = 0; i < json_array_size(keys); i++)
		if (!take_data_key(store, json_array_get(keys, i)))
			message_problem("data key %zu of the export lacks what it has to have", i + 1);
	for (size_t i = 0; i < json_array_size(secrets); i++)
		if (!take_secret(store, json_array_get(secrets, i)))
			message_problem("secret %zu of the export lacks what it has to have", i + 1);
	return true;
}

static int
count_lines(const char *text, size_t size)
{
	int lines = 0;

	for (size_t i = 0; i < size; i++)
		lines += text[i] == '\n';
	return lines;
}

static size_t
skip_blanks(const char *text, size_t size, size_t at)
{
	while (at < size && strchr(" \t\r\n", text[at]) && text[at])
		at++;
	return at;
}

const char *
export_read(const char *text, size_t size, Stores *stores, int *line)
{
	size_t at = skip_blanks(text, size, 0);

	while (at < size)
	{
		json_error_t error;
		json_t *export = json_loadb(text + at, size - at, JSON_DISABLE_EOF_CHECK, &error);
		bool is_taken = export && take_export(stores, export);

		*line = count_lines(text, at) + (export || error.line < 1 ? 1 : error.line);
		if (export == NULL)
			return "it is no valid JSON"; /* the library's message shows a part of the text */
		json_decref(export);
		if (!is_taken)
			return "it is no encrypted export, whose format is \"" EXPORT_FORMAT "\"";
		at = skip_blanks(text, size, at + (size_t) error.position);
	}
	return NULL;
}

/*
 * Writes a value with its names.
 */
#include "recover/write.h"

#include <stdio.h>
#include <string.h>

#include "recover/text.h"

#define NUMBER_SIZE 24
#define ENV_NAME "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"

static void
add_number(Buffer *to, int64_t number)
{
	char text[NUMBER_SIZE];

	snprintf(text, sizeof(text), "%lld", (long long) number);
	buffer_add_text(to, text);
}

static void
add_field(Buffer *to, const char *key, const char *value)
{
	buffer_add_text(to, key);
	if (value)
		text_add_json(to, value, strlen(value));
	else
		buffer_add_text(to, "null");
}

static const char *
state_of(const Version *version)
{
	if (version->token == NULL)
		return "destroyed";
	if (version->is_deleted)
		return "deleted";
	return version->is_expired ? "expired" : "active";
}

void
write_json(Buffer *to, const Version *version, const Value *value, bool names_only)
{
	const Secret *secret = version->secret;

	add_field(to, "{\"service\":", secret->service);
	add_field(to, ",\"key_name\":", secret->key_name);
	add_field(to, ",\"node\":", secret->node);
	add_field(to, ",\"company\":", secret->company);
	buffer_add_text(to, ",\"version\":");
	add_number(to, version->version);
	add_field(to, ",\"state\":", state_of(version));
	if (names_only)
	{
		buffer_add_text(to, "}\n");
		return;
	}
	buffer_add_text(to, ",\"value\":");
	if (value->bytes && text_is_utf8(value->bytes, value->size))
		text_add_json(to, value->bytes, value->size);
	else
		buffer_add_text(to, "null");
	if (value->bytes && !text_is_utf8(value->bytes, value->size))
	{
		buffer_add_text(to, ",\"value_base64\":\"");
		text_add_base64(to, value->bytes, value->size);
		buffer_add_char(to, '"');
	}
	buffer_add_text(to, "}\n");
}

static bool
is_same(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static void
add_scope(Buffer *to, const Secret *secret)
{
	if (secret->node)
	{
		buffer_add_text(to, ", node ");
		text_add_printable(to, secret->node);
	}
	if (secret->company)
	{
		buffer_add_text(to, ", company ");
		text_add_printable(to, secret->company);
	}
}

const char *
write_env(Buffer *to, const Version *version, const Value *value, const Secret *last)
{
	const Secret *secret = version->secret;

	if (secret->key_name[strspn(secret->key_name, ENV_NAME)] != '\0' || secret->key_name[0] == '\0')
		return "its name is none of a variable; the format json has it";
	if (memchr(value->bytes, '\0', value->size))
		return "it has a zero byte; the format json has it";
	if (last == NULL || !is_same(last->service, secret->service) ||
		!is_same(last->node, secret->node) || !is_same(last->company, secret->company))
	{
		buffer_add_text(to, last ? "\n# " : "# ");
		text_add_printable(to, secret->service);
		add_scope(to, secret);
		buffer_add_char(to, '\n');
	}
	buffer_add_text(to, secret->key_name);
	buffer_add_char(to, '=');
	text_add_quoted(to, value->bytes, value->size);
	buffer_add_char(to, '\n');
	return NULL;
}

void
write_name(Buffer *to, const Secret *secret, int64_t version)
{
	buffer_add_char(to, '"');
	text_add_printable(to, secret->key_name);
	buffer_add_text(to, "\" of service \"");
	text_add_printable(to, secret->service);
	buffer_add_char(to, '"');
	add_scope(to, secret);
	buffer_add_text(to, ", version ");
	add_number(to, version);
}

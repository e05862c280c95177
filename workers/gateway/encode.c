/*
 * JSON from what libpq has.
 *
 * boolean: true and false. Integers, floats and numeric: numbers with all their digits; NaN and
 * infinities, which JSON lacks: null. json and jsonb: as they are. timestamptz: RFC 3339 in UTC.
 * Arrays of these and of texts: arrays. All else, with interval as ISO 8601: texts. The connection
 * has to have TimeZone UTC, DateStyle ISO and IntervalStyle iso_8601.
 */
#include "gateway/encode.h"

#include <stdbool.h>
#include <string.h>

#include "common/utf8.h"

/* Types as PostgreSQL numbers them, in pg_type.dat. */
enum
{
	BOOL = 16,
	INT8 = 20,
	INT2 = 21,
	INT4 = 23,
	OID = 26,
	JSON = 114,
	FLOAT4 = 700,
	FLOAT8 = 701,
	TIMESTAMPTZ = 1184,
	NUMERIC = 1700,
	JSONB = 3802
};

/* ---- texts ---- */

static const char escapes[256] = {
	['"'] = '"',  ['\\'] = '\\', ['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r',
	['\t'] = 't', [0x00] = 'u',	 [0x01] = 'u', [0x02] = 'u', [0x03] = 'u', [0x04] = 'u',
	[0x05] = 'u', [0x06] = 'u',	 [0x07] = 'u', [0x0b] = 'u', [0x0e] = 'u', [0x0f] = 'u',
	[0x10] = 'u', [0x11] = 'u',	 [0x12] = 'u', [0x13] = 'u', [0x14] = 'u', [0x15] = 'u',
	[0x16] = 'u', [0x17] = 'u',	 [0x18] = 'u', [0x19] = 'u', [0x1a] = 'u', [0x1b] = 'u',
	[0x1c] = 'u', [0x1d] = 'u',	 [0x1e] = 'u', [0x1f] = 'u',
};

/*
 * No byte becomes more than six.
 */
void
encode_text(Buffer *to, const char *text, size_t size)
{
	static const char digits[] = "0123456789abcdef";
	char *out = buffer_room(to, size * 6 + 2);
	char *start = out;

	*out++ = '"';
	for (size_t i = 0; i < size;)
	{
		unsigned char c = (unsigned char) text[i];

		if (c >= 0x80)
		{
			int length = utf8_character(text + i, size - i);

			if (length > 0)
			{
				memcpy(out, text + i, (size_t) length);
				out += length;
				i += (size_t) length;
				continue;
			}
			memcpy(out, "\xef\xbf\xbd", 3);
			out += 3;
			i += length < 0 ? (size_t) -length : size - i;
			continue;
		}
		i++;
		if (escapes[c] == 0)
		{
			*out++ = (char) c;
			continue;
		}
		*out++ = '\\';
		*out++ = escapes[c];
		if (escapes[c] == 'u')
		{
			memcpy(out, "00", 2);
			out[2] = digits[c >> 4];
			out[3] = digits[c & 15];
			out += 4;
		}
	}
	*out++ = '"';
	*out = '\0';
	to->size += (size_t) (out - start);
}

/* ---- values ---- */

/*
 * A number as PostgreSQL writes it is one of JSON, but for NaN and infinities.
 */
static void
add_number(Buffer *to, const char *text, size_t size)
{
	char last = size > 0 ? text[size - 1] : 'x';

	if (last >= '0' && last <= '9')
		buffer_add(to, text, size);
	else
		buffer_add(to, "null", 4);
}

/*
 * 2026-01-31 12:00:00.5+00 becomes 2026-01-31T12:00:00.5Z; infinity and years before Christ stay
 * texts.
 */
static void
add_timestamp(Buffer *to, const char *text, size_t size)
{
	char *out;

	if (size < 22 || text[size - 3] != '+' || text[size - 2] != '0' || text[size - 1] != '0' ||
		memchr(text, ' ', size) == NULL)
	{
		encode_text(to, text, size);
		return;
	}
	out = buffer_room(to, size + 2);
	*out++ = '"';
	memcpy(out, text, size - 3);
	*(char *) memchr(out, ' ', size - 3) = 'T';
	out += size - 3;
	memcpy(out, "Z\"", 3);
	to->size += size;
}

static void
add_boolean(Buffer *to, const char *text)
{
	if (*text == 't')
		buffer_add(to, "true", 4);
	else
		buffer_add(to, "false", 5);
}

/* ---- arrays ---- */

/*
 * The type of the elements of an array type; 0 when it is none of those known here.
 */
static Oid
element_of(Oid type)
{
	switch (type)
	{
		case 199:
			return JSON;
		case 1000:
			return BOOL;
		case 1005:
			return INT2;
		case 1007:
			return INT4;
		case 1016:
			return INT8;
		case 1028:
			return OID;
		case 1021:
			return FLOAT4;
		case 1022:
			return FLOAT8;
		case 1185:
			return TIMESTAMPTZ;
		case 1231:
			return NUMERIC;
		case 3807:
			return JSONB;
		case 1002: /* char, name, text, bpchar, varchar */
		case 1003:
		case 1009:
		case 1014:
		case 1015:
		case 651: /* cidr, inet */
		case 1041:
		case 1182: /* date, timestamp, time, interval */
		case 1115:
		case 1183:
		case 1187:
		case 2951: /* uuid, pg_lsn */
		case 3221:
			return 25;
		default:
			return 0;
	}
}

/*
 * An element in quotes, in which a backslash escapes. Returns what is behind it.
 */
static const char *
add_quoted_element(Buffer *to, Oid element, const char *at, const char *end)
{
	Buffer plain = {0};

	for (at++; at < end && *at != '"'; at++)
	{
		if (*at == '\\' && at + 1 < end)
			at++;
		buffer_add_char(&plain, *at);
	}
	encode_value(to, element, plain.bytes ? plain.bytes : "", plain.size);
	buffer_wipe(&plain);
	return at < end ? at + 1 : at;
}

/*
 * As array_out() writes it: {1,NULL,"a \"b\""}, nested for more dimensions.
 */
static void
add_array(Buffer *to, Oid element, const char *text, size_t size)
{
	const char *end = text + size;
	const char *at = text;

	if (size > 0 && *at == '[') /* bounds that do not begin at 1 */
		at = memchr(at, '=', size) ? (const char *) memchr(at, '=', size) + 1 : end;
	while (at < end)
	{
		const char *start = at;

		if (*at == '{' || *at == '}' || *at == ',')
			buffer_add_char(to, *at == '{' ? '[' : *at == '}' ? ']' : ',');
		if (*at == '{' || *at == '}' || *at == ',')
		{
			at++;
			continue;
		}
		if (*at == '"')
		{
			at = add_quoted_element(to, element, at, end);
			continue;
		}
		while (at < end && *at != ',' && *at != '}')
			at++;
		if (at - start == 4 && strncasecmp(start, "NULL", 4) == 0)
			buffer_add(to, "null", 4);
		else
			encode_value(to, element, start, (size_t) (at - start));
	}
}

void
encode_value(Buffer *to, Oid type, const char *text, size_t size)
{
	Oid element;

	switch (type)
	{
		case BOOL:
			add_boolean(to, text);
			return;
		case INT2:
		case INT4:
		case INT8:
		case OID:
			buffer_add(to, text, size);
			return;
		case FLOAT4:
		case FLOAT8:
		case NUMERIC:
			add_number(to, text, size);
			return;
		case JSON:
		case JSONB:
			buffer_add(to, text, size);
			return;
		case TIMESTAMPTZ:
			add_timestamp(to, text, size);
			return;
		case 25: /* text */
		case 1043:
			encode_text(to, text, size);
			return;
		default:
			element = element_of(type);
			if (element)
				add_array(to, element, text, size);
			else
				encode_text(to, text, size);
	}
}

/* ---- rows ---- */

#define COLUMNS 100

/* What stands before a value: the comma, the name and the colon. */
typedef struct Lead
{
	size_t at;
	size_t size;
	Oid type;
} Lead;

static int
make_leads(Buffer *names, Lead leads[COLUMNS], const PGresult *result)
{
	int count = PQnfields(result) < COLUMNS ? PQnfields(result) : COLUMNS;

	for (int i = 0; i < count; i++)
	{
		const char *name = PQfname(result, i);

		leads[i].at = names->size;
		buffer_add_char(names, i > 0 ? ',' : '{');
		encode_text(names, name, strlen(name));
		buffer_add_char(names, ':');
		leads[i].size = names->size - leads[i].at;
		leads[i].type = PQftype(result, i);
	}
	return count;
}

static void
add_row(Buffer *to, const PGresult *result, int row, const Buffer *names, const Lead *leads,
		int count)
{
	for (int i = 0; i < count; i++)
	{
		buffer_add(to, names->bytes + leads[i].at, leads[i].size);
		if (PQgetisnull(result, row, i))
			buffer_add(to, "null", 4);
		else
			encode_value(to, leads[i].type, PQgetvalue(result, row, i),
						 (size_t) PQgetlength(result, row, i));
	}
	if (count == 0)
		buffer_add_char(to, '{');
	buffer_add_char(to, '}');
}

void
encode_row(Buffer *to, const PGresult *result, int row)
{
	Buffer names = {0};
	Lead leads[COLUMNS];
	int count = make_leads(&names, leads, result);

	add_row(to, result, row, &names, leads, count);
	buffer_wipe(&names);
}

void
encode_rows(Buffer *to, const PGresult *result)
{
	Buffer names = {0};
	Lead leads[COLUMNS];
	int count = make_leads(&names, leads, result);

	(void) buffer_room(to, 4000);
	buffer_add_char(to, '[');
	for (int row = 0; row < PQntuples(result); row++)
	{
		if (row > 0)
			buffer_add_char(to, ',');
		add_row(to, result, row, &names, leads, count);
	}
	buffer_add_char(to, ']');
	buffer_wipe(&names);
}

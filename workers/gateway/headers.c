/*
 * The headers of a request.
 */
#include "gateway/headers.h"

#include <string.h>
#include <strings.h>

#define LARGEST_JUMP 32768 /* bytes between two headers that stand in one buffer */

static const struct
{
	const char *name;
	size_t size;
	bool may_repeat;
} known[HEADERS] = {
	[HEADER_HOST] = {"Host", 4, false},
	[HEADER_CONTENT_LENGTH] = {"Content-Length", 14, false},
	[HEADER_CONTENT_TYPE] = {"Content-Type", 12, false},
	[HEADER_TRANSFER_ENCODING] = {"Transfer-Encoding", 17, false},
	[HEADER_AUTHORIZATION] = {"Authorization", 13, false},
	[HEADER_COOKIE] = {"Cookie", 6, false},
	[HEADER_CSRF_TOKEN] = {"X-CSRF-Token", 12, false},
	[HEADER_NODE_NAME] = {"X-Node-Name", 11, false},
	[HEADER_REQUEST_ID] = {"X-Request-Id", 12, false},
	[HEADER_FORWARDED_FOR] = {"X-Forwarded-For", 15, true},
	[HEADER_ORIGIN] = {"Origin", 6, false},
	[HEADER_IF_NONE_MATCH] = {"If-None-Match", 13, true},
	[HEADER_LSN] = {"Aurora-LSN", 10, false},
};

static void
refuse(Headers *headers, int status, const char *problem)
{
	if (headers->status)
		return;
	headers->status = status;
	headers->problem = problem;
}

static bool
is_token(const char *text, size_t size)
{
	static const char others[] = "!#$%&'*+-.^_`|~";

	for (size_t i = 0; i < size; i++)
	{
		char c = text[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			  (c && strchr(others, c))))
			return false;
	}
	return size > 0;
}

static bool
has_control(const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (((unsigned char) text[i] < ' ' && text[i] != '\t') || text[i] == 0x7f)
			return true;
	return false;
}

/*
 * What stands between the end of a value and what follows: zeros that the library put, blanks and
 * the line's end. Anything else was cut off by a zero byte.
 */
static bool
is_line_end(const char *from, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (from[i] && strchr(" \t\r\n", from[i]) == NULL)
			return false;
	return true;
}

/*
 * The library leaves headers where they came, in one buffer. Between the end of one and the name of
 * the next are then the two bytes of the line's end, or more with blanks before it; one byte was a
 * bare line feed. A line that was folded was put together at another place.
 */
static void
check_place(Headers *headers, const char *name, const char *value, size_t value_size)
{
	ptrdiff_t gap = name - headers->last;

	if (headers->last && gap == 1)
		refuse(headers, 400, "a line of the header ends with a line feed only");
	else if (value < name ||
			 (headers->last && !headers->is_first && (gap < 1 || gap > LARGEST_JUMP)))
		refuse(headers, 400, "a line of the header is folded");
	else if ((headers->last && !headers->is_first && !is_line_end(headers->last, (size_t) gap)) ||
			 !is_line_end(value + value_size, 2))
		refuse(headers, 400, "a line of the header has a zero byte");
	headers->last = value + value_size;
	headers->is_first = false;
}

void
headers_begin(Headers *headers, const char *target, const char *version)
{
	headers->size = strlen(target) + strlen(version) + 10;
	headers->last = version + strlen(version);
	headers->is_first = true;
}

void
headers_take(Headers *headers, const char *name, size_t name_size, const char *value,
			 size_t value_size)
{
	headers->size += name_size + value_size + 4;
	if (!is_token(name, name_size))
		refuse(headers, 400, "a header has a name that is none");
	if (value == NULL || has_control(value, value_size))
		refuse(headers, 400, "a header has a control character");
	else
		check_place(headers, name, value, value_size);
	for (int i = 0; i < HEADERS; i++)
	{
		if (known[i].size != name_size || strncasecmp(known[i].name, name, name_size) != 0)
			continue;
		if (headers->values[i] == NULL)
		{
			headers->values[i] = value;
			headers->sizes[i] = value_size;
		}
		else if (!known[i].may_repeat)
			refuse(headers, 400, "a header that may come once comes twice");
		return;
	}
}

static int64_t
read_length(const char *text)
{
	int64_t length = 0;

	if (*text == '\0')
		return -1;
	for (; *text; text++)
	{
		if (*text < '0' || *text > '9' || length > INT64_MAX / 10 - 10)
			return -1;
		length = length * 10 + (*text - '0');
	}
	return length;
}

bool
headers_end(Headers *headers, bool is_http_10, size_t header_limit, size_t body_limit)
{
	const char *length = headers->values[HEADER_CONTENT_LENGTH];
	const char *host = headers->values[HEADER_HOST];

	/* Before all else, for what the library had no room for looks as if something were cut off. */
	if (headers->size > header_limit)
	{
		headers->status = 0;
		refuse(headers, 431, "the header is too large");
	}
	if (length && (headers->content_length = read_length(length)) < 0)
		refuse(headers, 400, "Content-Length is no number");
	if (length && headers->values[HEADER_TRANSFER_ENCODING])
		refuse(headers, 400, "Content-Length and Transfer-Encoding do not go together");
	if ((host == NULL && !is_http_10) || (host && host[strcspn(host, " \t/\\@?#")]))
		refuse(headers, 400, "Host is missing, or no host");
	if (headers->values[HEADER_TRANSFER_ENCODING])
		refuse(headers, 411, "the body has to come with Content-Length, not in chunks");
	if (headers->content_length > (int64_t) body_limit)
		refuse(headers, 413, "the body is too large");
	return headers->status == 0;
}

size_t
headers_cookie(const char *cookies, const char *name, const char **value)
{
	size_t length = strlen(name);
	size_t found = 0;

	*value = NULL;
	while (*cookies)
	{
		size_t size = strcspn(cookies, ";");

		if (size > length && strncmp(cookies, name, length) == 0 && cookies[length] == '=')
		{
			if (*value)
				return 0;
			*value = cookies + length + 1;
			found = size - length - 1;
			while (found > 0 && ((*value)[found - 1] == ' ' || (*value)[found - 1] == '\t'))
				found--;
			if (found >= 2 && (*value)[0] == '"' && (*value)[found - 1] == '"')
			{
				(*value)++;
				found -= 2;
			}
		}
		cookies += size;
		cookies += strspn(cookies, "; \t");
	}
	return found;
}

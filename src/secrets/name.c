/*
 * Names of secrets: what may be one, scopes and patterns.
 */
#include "secrets/secrets.h"

#include "mb/pg_wchar.h"

const char *
aurora_secret_scope(bool of_node, bool of_company)
{
	if (of_node)
		return of_company ? "node+company" : "node";
	return of_company ? "company" : "global";
}

/*
 * Control characters of ASCII and of Latin-1, which UTF-8 has as C2 80 to C2 9F.
 */
static bool
has_control_character(const char *name)
{
	bool is_utf8 = GetDatabaseEncoding() == PG_UTF8;

	for (const unsigned char *c = (const unsigned char *) name; *c; c++)
	{
		if (*c < 0x20 || *c == 0x7F)
			return true;
		if (is_utf8 && *c == 0xC2 && c[1] >= 0x80 && c[1] <= 0x9F)
			return true;
	}
	return false;
}

void
aurora_secret_check_name(const char *what, const char *name)
{
	size_t size = strlen(name);
	const char *trouble = NULL;

	if (size == 0)
		trouble = "It is empty.";
	else if (pg_mbstrlen_with_len(name, (int) size) > AURORA_SECRET_NAME_LENGTH)
		trouble = "It has more than 200 characters.";
	else if (has_control_character(name))
		trouble = "It has a control character.";
	else if (name[0] == ' ' || name[size - 1] == ' ')
		trouble = "It begins or ends with a blank.";
	if (trouble)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("this is no name for a secret's %s", what), errdetail("%s", trouble),
						errhint("A name has 1 to 200 printable characters.")));
}

/*
 * Goes back to the last star when it fails, which finds a match if there is one.
 */
bool
aurora_secret_matches(const char *pattern, const char *text)
{
	const char *star = NULL;
	const char *resume = NULL;

	while (*text)
	{
		if (*pattern == '*')
		{
			star = ++pattern;
			resume = text;
		}
		else if (*pattern == *text)
		{
			pattern++;
			text++;
		}
		else if (star)
		{
			pattern = star;
			text = ++resume;
		}
		else
			return false;
	}
	while (*pattern == '*')
		pattern++;
	return *pattern == '\0';
}

void
aurora_secrets_require_library(void)
{
	if (!aurora_preloaded)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("secrets need the library to be loaded when the server starts"),
						errdetail("Each access is written down in a file that all sessions share."),
						errhint("Add aurora to shared_preload_libraries and restart.")));
}

/*
 * The node's own name. It lies in a configuration file outside the data folder, since a base backup
 * copies what is inside.
 */
#include "core/core.h"

#include <unistd.h>

#include "miscadmin.h"
#include "utils/guc.h"

bool aurora_preloaded = false;

static char *node_name = NULL;

/*
 * RFC 1123: letters, digits and hyphens, 1 to 63 of them, no hyphen at either end. Lower case only,
 * since names are compared as they are.
 */
bool
aurora_is_dns_label(const char *name)
{
	size_t length = strlen(name);

	if (length < 1 || length >= AURORA_NODE_NAME_SIZE)
		return false;
	if (name[0] == '-' || name[length - 1] == '-')
		return false;
	return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == length;
}

/*
 * The first label of the host name, in lower case, with hyphens for what a label cannot have.
 */
static const char *
name_of_host(void)
{
	static char label[AURORA_NODE_NAME_SIZE];

	if (label[0] != '\0')
		return label;
	if (gethostname(label, sizeof(label)) != 0)
		label[0] = '\0';
	label[sizeof(label) - 1] = '\0';
	label[strcspn(label, ".")] = '\0';
	for (char *c = label; *c; c++)
		*c = pg_tolower((unsigned char) *c);
	if (!aurora_is_dns_label(label))
		strlcpy(label, "localhost", sizeof(label));
	return label;
}

const char *
aurora_node_name(void)
{
	return node_name && node_name[0] ? node_name : name_of_host();
}

static bool
check_node_name(char **value, void **extra, GucSource source)
{
	if ((*value)[0] == '\0' || aurora_is_dns_label(*value))
		return true;
	GUC_check_errdetail("A node's name is a DNS label: 1 to 63 lower-case letters, digits and "
						"hyphens, with no hyphen at either end.");
	return false;
}

/*
 * A library that is loaded later cannot define a setting that wants a restart. And a value that was
 * there before the library only gives a warning when it is bad: a node under a wrong name must not
 * start.
 */
void
aurora_node_init(void)
{
	const char *given = GetConfigOption("aurora.node_name", true, false);

	if (aurora_preloaded && given && given[0] && !aurora_is_dns_label(given))
		ereport(FATAL,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for parameter \"aurora.node_name\": \"%s\"", given),
				 errhint("A node's name is a DNS label: 1 to 63 lower-case letters, digits and "
						 "hyphens, with no hyphen at either end.")));
	DefineCustomStringVariable(
		"aurora.node_name", "The name of this node, a DNS label; empty for the host's name.",
		"Set it outside the data folder, which base backups copy.", &node_name, "",
		aurora_preloaded ? PGC_POSTMASTER : PGC_SIGHUP, 0, check_node_name, NULL, NULL);
}

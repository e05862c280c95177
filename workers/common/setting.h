/*
 * Settings with units, in a table that says where in a structure each one lies.
 */
#ifndef COMMON_SETTING_H
#define COMMON_SETTING_H

#include <stddef.h>
#include <stdint.h>

typedef enum SettingType
{
	SETTING_TEXT,	  /* char * */
	SETTING_NUMBER,	  /* int64_t */
	SETTING_DURATION, /* int64_t, ms; written with us, ms, s, min, h or d */
	SETTING_SIZE,	  /* int64_t, bytes; written with B, kB, MB, GB or TB */
	SETTING_SWITCH,	  /* bool */
	SETTING_CHOICE	  /* int, the place in "choices" */
} SettingType;

typedef struct Setting
{
	const char *section;
	const char *key;
	SettingType type;
	size_t offset;
	int64_t least;
	int64_t most;
	const char *const *choices; /* up to a NULL */
} Setting;

/*
 * Sets the key of a section in the structure. Returns what is wrong, to be freed, else NULL. A text
 * that was there is freed.
 */
extern char *setting_take(const Setting *settings, size_t count, const char *section,
						  const char *key, const char *value, void *structure);

/* Frees the texts of a section's settings in the structure. */
extern void setting_free(const Setting *settings, size_t count, const char *section,
						 void *structure);

#endif

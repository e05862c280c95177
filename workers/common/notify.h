/*
 * Tells the service manager how the program is, as sd_notify(3) does: a datagram to the socket that
 * NOTIFY_SOCKET names. Without one nothing happens.
 */
#ifndef COMMON_NOTIFY_H
#define COMMON_NOTIFY_H

#include <stdint.h>

/* A state like "READY=1"; several are separated by newlines. */
extern void notify(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* How often "WATCHDOG=1" is to be told, in milliseconds; 0 when the manager does not watch. */
extern int64_t notify_watchdog_interval(void);

#endif

/*
 * A library in the place of libnvidia-ml.so.1, for tests. FAKE_NVML names a file that says how it
 * is, read at each call: "init CODE", "count N", "device INDEX lost|unified|denied|plain". With
 * FAKE_OLD it is built as an old driver's, which lacks functions.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOST 15
#define NOT_SUPPORTED 3
#define NO_PERMISSION 4

typedef struct State
{
	int init;
	unsigned count;
	char devices[8][16];
} State;

static int initialised = 0;

static State
read_state(void)
{
	State state = {0, 2, {"plain", "plain"}};
	const char *path = getenv("FAKE_NVML");
	FILE *file = path ? fopen(path, "r") : NULL;
	char line[80];
	unsigned index;
	char kind[16];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "init %d", &state.init) != 1 &&
			sscanf(line, "count %u", &state.count) != 1 &&
			sscanf(line, "device %u %15s", &index, kind) == 2 && index < 8)
			memcpy(state.devices[index], kind, sizeof(kind));
	if (file)
		fclose(file);
	return state;
}

static unsigned
index_of(void *device)
{
	return (unsigned) ((char *) device - (char *) 0x1000);
}

static int
is(void *device, const char *kind)
{
	return strcmp(read_state().devices[index_of(device)], kind) == 0;
}

#define FAIL_WHEN_LOST(device) \
	if (!initialised)          \
		return 1;              \
	if (is(device, "lost"))    \
	return LOST

int
nvmlInit_v2(void)
{
	int code = read_state().init;

	initialised += code == 0;
	return code;
}

int
nvmlShutdown(void)
{
	initialised--;
	return 0;
}

const char *
nvmlErrorString(int code)
{
	return code == LOST ? "GPU is lost" : code == 9 ? "Driver Not Loaded" : "some error";
}

int
nvmlSystemGetDriverVersion(char *text, unsigned size)
{
	return snprintf(text, size, "550.54") < 0;
}

int
nvmlDeviceGetCount_v2(unsigned *count)
{
	*count = read_state().count;
	return initialised ? 0 : 1;
}

int
nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device)
{
	*device = (char *) 0x1000 + index;
	if (is(*device, "denied"))
		return NO_PERMISSION;
	FAIL_WHEN_LOST(*device);
	return 0;
}

int
nvmlDeviceGetName(void *device, char *text, unsigned size)
{
	FAIL_WHEN_LOST(device);
	return snprintf(text, size, "Fake %u", index_of(device)) < 0;
}

int
nvmlDeviceGetUUID(void *device, char *text, unsigned size)
{
	FAIL_WHEN_LOST(device);
	return snprintf(text, size, "GPU-%u", index_of(device)) < 0;
}

int
nvmlDeviceGetMemoryInfo(void *device, unsigned long long *memory)
{
	FAIL_WHEN_LOST(device);
	if (is(device, "unified"))
		return NOT_SUPPORTED;
	memory[0] = 1000;
	memory[1] = 600;
	memory[2] = 400;
	return 0;
}

#ifndef FAKE_OLD
int
nvmlDeviceGetMemoryInfo_v2(void *device, unsigned long long *memory)
{
	FAIL_WHEN_LOST(device);
	if (is(device, "unified"))
		return NOT_SUPPORTED;
	if (*(unsigned *) memory != 0x02000028)
		return 25;
	memory[1] = 24000;
	memory[2] = 1000;
	memory[3] = 20000;
	memory[4] = 3000;
	return 0;
}

int
nvmlDeviceGetUtilizationRates(void *device, unsigned *rates)
{
	FAIL_WHEN_LOST(device);
	rates[0] = 37;
	rates[1] = 5;
	return 0;
}

int
nvmlDeviceGetTemperatureV(void *device, unsigned *sensor)
{
	FAIL_WHEN_LOST(device);
	if (sensor[0] != 0x0100000c || sensor[1] != 0)
		return 25;
	sensor[2] = 61;
	return 0;
}

int
nvmlDeviceGetEnforcedPowerLimit(void *device, unsigned *milliwatts)
{
	FAIL_WHEN_LOST(device);
	*milliwatts = 450000;
	return 0;
}

int
nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor)
{
	FAIL_WHEN_LOST(device);
	*major = 8;
	*minor = 9;
	return 0;
}
#endif

int
nvmlDeviceGetTemperature(void *device, int sensor, unsigned *degrees)
{
	FAIL_WHEN_LOST(device);
	*degrees = 55 + (unsigned) sensor;
	return 0;
}

int
nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatts)
{
	FAIL_WHEN_LOST(device);
	*milliwatts = 123456;
	return 0;
}

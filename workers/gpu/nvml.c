/*
 * NVIDIA devices by NVML. Its header is not in Debian, so that what is needed of it is declared
 * here: names, return codes and layouts are those of API 13, which older drivers have, too, unless
 * a function is missing, which leaves its field unknown.
 */
#include "gpu/nvml.h"

#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/memory.h"

#define FIRST_WAIT 5000 /* ms */
#define LAST_WAIT 300000
#define DRIVER_WAIT 60000 /* for a driver that is not loaded */

typedef void *NvmlDevice;

typedef enum NvmlCode
{
	NVML_SUCCESS = 0,
	NVML_NOT_SUPPORTED = 3,
	NVML_NO_PERMISSION = 4,
	NVML_DRIVER_NOT_LOADED = 9,
	NVML_FUNCTION_NOT_FOUND = 13,
	NVML_GPU_IS_LOST = 15,
	NVML_RESET_REQUIRED = 16,
	NVML_VERSION_MISMATCH = 18,
	NVML_UNKNOWN = 999
} NvmlCode;

typedef struct NvmlMemory1
{
	uint64_t total;
	uint64_t free;
	uint64_t used; /* with what the driver keeps for itself */
} NvmlMemory1;

typedef struct NvmlMemory2
{
	uint32_t version;
	uint64_t total;
	uint64_t reserved;
	uint64_t free;
	uint64_t used;
} NvmlMemory2;

typedef struct NvmlUtilisation
{
	uint32_t gpu;
	uint32_t memory;
} NvmlUtilisation;

typedef struct NvmlTemperature
{
	uint32_t version;
	uint32_t sensor;
	int32_t temperature;
} NvmlTemperature;

_Static_assert(sizeof(NvmlMemory1) == 24, "as the library has it");
_Static_assert(sizeof(NvmlMemory2) == 40, "as the library has it");
_Static_assert(sizeof(NvmlTemperature) == 12, "as the library has it");

#define VERSIONED(type, version) ((uint32_t) sizeof(type) | ((uint32_t) (version) << 24))

/* The functions, by their exact names; NULL where the library has none. */
typedef struct NvmlFunctions
{
	int (*nvmlInit_v2)(void);
	int (*nvmlShutdown)(void);
	const char *(*nvmlErrorString)(int);
	int (*nvmlSystemGetDriverVersion)(char *, unsigned);
	int (*nvmlDeviceGetCount_v2)(unsigned *);
	int (*nvmlDeviceGetHandleByIndex_v2)(unsigned, NvmlDevice *);
	int (*nvmlDeviceGetName)(NvmlDevice, char *, unsigned);
	int (*nvmlDeviceGetUUID)(NvmlDevice, char *, unsigned);
	int (*nvmlDeviceGetMemoryInfo)(NvmlDevice, NvmlMemory1 *);
	int (*nvmlDeviceGetMemoryInfo_v2)(NvmlDevice, NvmlMemory2 *);
	int (*nvmlDeviceGetUtilizationRates)(NvmlDevice, NvmlUtilisation *);
	int (*nvmlDeviceGetTemperature)(NvmlDevice, int, unsigned *);
	int (*nvmlDeviceGetTemperatureV)(NvmlDevice, NvmlTemperature *);
	int (*nvmlDeviceGetPowerUsage)(NvmlDevice, unsigned *);
	int (*nvmlDeviceGetEnforcedPowerLimit)(NvmlDevice, unsigned *);
	int (*nvmlDeviceGetCudaComputeCapability)(NvmlDevice, int *, int *);
} NvmlFunctions;

#define FUNCTION(name) {#name, offsetof(NvmlFunctions, name)}

static const struct
{
	const char *name;
	size_t offset;
} functions[] = {
	FUNCTION(nvmlInit_v2),
	FUNCTION(nvmlShutdown),
	FUNCTION(nvmlErrorString),
	FUNCTION(nvmlSystemGetDriverVersion),
	FUNCTION(nvmlDeviceGetCount_v2),
	FUNCTION(nvmlDeviceGetHandleByIndex_v2),
	FUNCTION(nvmlDeviceGetName),
	FUNCTION(nvmlDeviceGetUUID),
	FUNCTION(nvmlDeviceGetMemoryInfo),
	FUNCTION(nvmlDeviceGetMemoryInfo_v2),
	FUNCTION(nvmlDeviceGetUtilizationRates),
	FUNCTION(nvmlDeviceGetTemperature),
	FUNCTION(nvmlDeviceGetTemperatureV),
	FUNCTION(nvmlDeviceGetPowerUsage),
	FUNCTION(nvmlDeviceGetEnforcedPowerLimit),
	FUNCTION(nvmlDeviceGetCudaComputeCapability),
};

struct Nvml
{
	char *library;
	char *meminfo;
	void *handle;
	NvmlFunctions call;
	bool is_initialised;
	bool is_sick; /* a device or the driver was lost, and is tried anew at that time */
	int64_t retry_at;
	int64_t wait;
	Inventory known; /* as they were read last */
	char driver[80];
};

Nvml *
nvml_open(const char *library, const char *meminfo)
{
	Nvml *nvml = memory_get(sizeof(Nvml));

	nvml->library = memory_copy(library);
	nvml->meminfo = memory_copy(meminfo);
	nvml->wait = FIRST_WAIT;
	return nvml;
}

static void
shut_down(Nvml *nvml)
{
	if (nvml->is_initialised && nvml->call.nvmlShutdown)
		(void) nvml->call.nvmlShutdown();
	nvml->is_initialised = false;
	if (nvml->handle)
		dlclose(nvml->handle);
	nvml->handle = NULL;
}

void
nvml_close(Nvml *nvml)
{
	shut_down(nvml);
	free(nvml->library);
	free(nvml->meminfo);
	free(nvml);
}

/* ---- the library ---- */

static bool
load(Nvml *nvml)
{
	nvml->handle = dlopen(nvml->library, RTLD_NOW | RTLD_LOCAL);
	if (nvml->handle == NULL)
		return false;
	for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++)
	{
		void *symbol = dlsym(nvml->handle, functions[i].name);

		memcpy((char *) &nvml->call + functions[i].offset, &symbol, sizeof(symbol));
	}
	return nvml->call.nvmlInit_v2 && nvml->call.nvmlDeviceGetCount_v2 &&
		   nvml->call.nvmlDeviceGetHandleByIndex_v2;
}

static const char *
describe(const Nvml *nvml, int code)
{
	const char *text = nvml->call.nvmlErrorString ? nvml->call.nvmlErrorString(code) : NULL;

	return text ? text : "unknown error";
}

/*
 * Puts off the next try.
 */
static void
back_off(Nvml *nvml, int64_t now, int64_t least)
{
	nvml->is_sick = true;
	nvml->retry_at = now + (nvml->wait > least ? nvml->wait : least);
	nvml->wait = nvml->wait * 2 > LAST_WAIT ? LAST_WAIT : nvml->wait * 2;
}

static void
lose_all(Nvml *nvml, const char *problem)
{
	for (int i = 0; i < nvml->known.count; i++)
	{
		nvml->known.devices[i].is_lost = true;
		device_copy_text(nvml->known.devices[i].problem, sizeof(nvml->known.devices[i].problem),
						 problem);
	}
}

static bool
initialise(Nvml *nvml, int64_t now)
{
	int code;

	if (nvml->is_initialised)
		return true;
	if (now < nvml->retry_at)
		return false;
	if (!load(nvml))
	{
		lose_all(nvml, "the driver's library is gone");
		shut_down(nvml);
		back_off(nvml, now, DRIVER_WAIT);
		return false;
	}
	code = nvml->call.nvmlInit_v2();
	if (code != NVML_SUCCESS)
	{
		lose_all(nvml, describe(nvml, code));
		shut_down(nvml);
		back_off(nvml, now, code == NVML_DRIVER_NOT_LOADED ? DRIVER_WAIT : 0);
		return false;
	}
	nvml->is_initialised = true;
	nvml->driver[0] = '\0';
	if (nvml->call.nvmlSystemGetDriverVersion)
		(void) nvml->call.nvmlSystemGetDriverVersion(nvml->driver, sizeof(nvml->driver));
	return true;
}

/* ---- a device ---- */

/*
 * Is the device lost, by what one of its functions has returned?
 */
static bool
tells_loss(int code)
{
	return code == NVML_GPU_IS_LOST || code == NVML_RESET_REQUIRED ||
		   code == NVML_VERSION_MISMATCH || code == NVML_UNKNOWN;
}

/*
 * Calls a function that may be missing; notes when it says that the device is lost.
 */
#define CALL(function, ...)                                                     \
	(nvml->call.function ? note(nvml, device, nvml->call.function(__VA_ARGS__)) \
						 : NVML_FUNCTION_NOT_FOUND)

static int
note(const Nvml *nvml, Device *device, int code)
{
	if (!tells_loss(code) && code != NVML_NO_PERMISSION)
		return code;
	device->is_lost |= tells_loss(code);
	device_copy_text(device->problem, sizeof(device->problem), describe(nvml, code));
	return code;
}

static void
read_memory(const Nvml *nvml, NvmlDevice handle, Device *device)
{
	NvmlMemory2 second = {.version = VERSIONED(NvmlMemory2, 2)};
	NvmlMemory1 first;
	int code = CALL(nvmlDeviceGetMemoryInfo_v2, handle, &second);

	if (code == NVML_SUCCESS)
	{
		device->memory_total = (int64_t) second.total;
		device->memory_free = (int64_t) second.free;
		device->memory_used = (int64_t) second.used;
		return;
	}
	code = CALL(nvmlDeviceGetMemoryInfo, handle, &first);
	if (code == NVML_SUCCESS)
	{
		device->memory_total = (int64_t) first.total;
		device->memory_free = (int64_t) first.free;
		device->memory_used = (int64_t) first.used;
	}
	else if (code == NVML_NOT_SUPPORTED)
		device_share_memory(device, nvml->meminfo);
}

static void
read_sensors(const Nvml *nvml, NvmlDevice handle, Device *device)
{
	NvmlTemperature sensor = {.version = VERSIONED(NvmlTemperature, 1)};
	NvmlUtilisation utilisation;
	unsigned value;

	if (CALL(nvmlDeviceGetUtilizationRates, handle, &utilisation) == NVML_SUCCESS)
		device->utilisation = (int) utilisation.gpu;
	if (CALL(nvmlDeviceGetTemperatureV, handle, &sensor) == NVML_SUCCESS)
		device->temperature = sensor.temperature;
	else if (CALL(nvmlDeviceGetTemperature, handle, 0, &value) == NVML_SUCCESS)
		device->temperature = (int) value;
	if (CALL(nvmlDeviceGetPowerUsage, handle, &value) == NVML_SUCCESS)
		device->power = value / 1000.0;
	if (CALL(nvmlDeviceGetEnforcedPowerLimit, handle, &value) == NVML_SUCCESS)
		device->power_limit = value / 1000.0;
}

static void
read_device(const Nvml *nvml, NvmlDevice handle, Device *device)
{
	int major;
	int minor;

	device_copy_text(device->driver, sizeof(device->driver), nvml->driver);
	(void) CALL(nvmlDeviceGetName, handle, device->name, sizeof(device->name));
	(void) CALL(nvmlDeviceGetUUID, handle, device->uuid, sizeof(device->uuid));
	if (CALL(nvmlDeviceGetCudaComputeCapability, handle, &major, &minor) == NVML_SUCCESS)
		snprintf(device->compute_capability, sizeof(device->compute_capability), "%d.%d", major,
				 minor);
	read_memory(nvml, handle, device);
	read_sensors(nvml, handle, device);
}

/*
 * A device that is lost keeps what was known of it.
 */
static void
remember(Nvml *nvml, const Device *read)
{
	Device *known = NULL;

	for (int i = 0; i < nvml->known.count; i++)
		if (nvml->known.devices[i].index == read->index)
			known = &nvml->known.devices[i];
	if (known == NULL && nvml->known.count < DEVICES)
		known = &nvml->known.devices[nvml->known.count++];
	if (known == NULL)
		return;
	if (!read->is_lost || known->name[0] == '\0')
		*known = *read;
	known->is_lost = read->is_lost;
	memcpy(known->problem, read->problem, sizeof(known->problem));
}

static bool
read_all(Nvml *nvml)
{
	unsigned count = 0;
	bool is_any_lost = false;
	int code = nvml->call.nvmlDeviceGetCount_v2(&count);

	if (code != NVML_SUCCESS)
	{
		lose_all(nvml, describe(nvml, code));
		return false;
	}
	for (int i = 0; i < nvml->known.count; i++)
		if ((unsigned) nvml->known.devices[i].index >= count)
		{
			nvml->known.devices[i].is_lost = is_any_lost = true;
			device_copy_text(nvml->known.devices[i].problem, sizeof(nvml->known.devices[i].problem),
							 "the device is gone");
		}
	for (unsigned i = 0; i < count && i < DEVICES; i++)
	{
		NvmlDevice handle = NULL;
		Device device;

		device_init(&device, (int) i, "cuda");
		code = nvml->call.nvmlDeviceGetHandleByIndex_v2(i, &handle);
		if (code == NVML_SUCCESS)
			read_device(nvml, handle, &device);
		else
		{
			device.is_lost = true;
			device_copy_text(device.problem, sizeof(device.problem), describe(nvml, code));
		}
		is_any_lost |= device.is_lost && code != NVML_NO_PERMISSION;
		remember(nvml, &device);
	}
	return !is_any_lost;
}

/*
 * A sick library is closed and opened anew when its time has come; until then the devices that are
 * well are read on.
 */
bool
nvml_read(Nvml *nvml, int64_t now, Inventory *inventory)
{
	if (nvml->is_sick && now >= nvml->retry_at)
		shut_down(nvml);
	if (initialise(nvml, now))
	{
		if (read_all(nvml))
		{
			nvml->is_sick = false;
			nvml->wait = FIRST_WAIT;
		}
		else if (now >= nvml->retry_at)
			back_off(nvml, now, 0);
	}
	*inventory = nvml->known;
	inventory->source = "nvml";
	return nvml->known.count > 0;
}

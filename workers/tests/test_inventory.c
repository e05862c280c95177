/*
 * Devices: by NVML, nvidia-smi, AMD's driver, the configuration, and none at all.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/memory.h"
#include "gpu/amd.h"
#include "gpu/inventory.h"
#include "gpu/nvml.h"
#include "gpu/smi.h"
#include "tests/tap.h"

#define MEMINFO "MemTotal:       131072 kB\nMemFree: 1 kB\nMemAvailable:    65536 kB\n"

static char folder[] = "/tmp/aurora-test.XXXXXX";
static char program[4096]; /* the folder of this program */
static Inventory found;

static char *
path_of(const char *name)
{
	static char paths[8][4200];
	static int next = 0;
	char *path = paths[next++ % 8];

	snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
	return path;
}

static char *
write_file(const char *name, const char *text)
{
	char *path = path_of(name);
	FILE *file = fopen(path, "w");

	if (file == NULL || fputs(text, file) < 0 || fclose(file) != 0)
		abort();
	return path;
}

/* ---- texts of devices ---- */

/*
 * What is told of a device, in one line.
 */
static char *
line_of(const Device *device)
{
	static Buffer line = {0};

	buffer_clear(&line);
	buffer_print(
		&line, "%d %s %s %s mem %lld/%lld/%lld util %d temp %d power %.1f/%.1f %s %s%s%s%s%s",
		device->index, device->kind, device->name, device->uuid, (long long) device->memory_total,
		(long long) device->memory_free, (long long) device->memory_used, device->utilisation,
		device->temperature, device->power, device->power_limit, device->driver,
		device->compute_capability, device->unified ? " unified" : "",
		device->is_lost ? " lost" : "", device->problem[0] ? ": " : "", device->problem);
	return line.bytes;
}

#define HEALTHY(n)                                                                                \
	n " cuda Fake " n " GPU-" n " mem 24000/20000/3000 util 37 temp 61 power 123.5/450.0 550.54 " \
	  "8.9"

/* ---- NVML ---- */

static void
try_nvml(void)
{
	char *library = memory_get(5000);
	Nvml *nvml;
	int64_t now = 1000;

	snprintf(library, 5000, "%s/libfake-nvml.so", program);
	setenv("FAKE_NVML", write_file("nvml", "count 2\n"), 1);
	nvml = nvml_open(library, path_of("meminfo"));
	ok(nvml_read(nvml, now, &found) && found.count == 2, "NVML tells two devices");
	is(line_of(&found.devices[0]), HEALTHY("0"), "one is all there");
	is(line_of(&found.devices[1]), HEALTHY("1"), "... and the other");

	write_file("nvml", "count 2\ndevice 1 lost\n");
	ok(nvml_read(nvml, now += 1000, &found), "a device is lost");
	is(line_of(&found.devices[0]), HEALTHY("0"), "the other one is well");
	is(line_of(&found.devices[1]), HEALTHY("1") " lost: GPU is lost",
	   "what is known of the lost one stays");
	write_file("nvml", "count 2\n");
	(void) nvml_read(nvml, now += 60000, &found);
	is(line_of(&found.devices[1]), HEALTHY("1"), "it comes back");

	write_file("nvml", "count 1\n");
	(void) nvml_read(nvml, now += 1000, &found);
	is(line_of(&found.devices[1]), HEALTHY("1") " lost: the device is gone",
	   "a device that is no longer counted is lost");
	write_file("nvml", "count 2\ndevice 1 unified\n");
	(void) nvml_read(nvml, now += 60000, &found);
	is(line_of(&found.devices[1]),
	   "1 cuda Fake 1 GPU-1 mem 134217728/67108864/67108864 util 37 temp 61 power 123.5/450.0 "
	   "550.54 8.9 unified",
	   "a device without memory of its own has the machine's");
	write_file("nvml", "init 18\ncount 2\ndevice 1 lost\n");
	(void) nvml_read(nvml, now += 60000, &found);
	(void) nvml_read(nvml, now += 600000, &found);
	ok(found.count == 2 && found.devices[0].is_lost && found.devices[1].is_lost,
	   "all are lost when the driver is");
	write_file("nvml", "count 2\n");
	(void) nvml_read(nvml, now += 1000, &found);
	ok(found.devices[0].is_lost, "it is not tried again at once");
	(void) nvml_read(nvml, now += 600000, &found);
	ok(!found.devices[0].is_lost && !found.devices[1].is_lost, "... but later, and all are well");
	write_file("nvml", "count 3\ndevice 2 denied\n");
	(void) nvml_read(nvml, now += 1000, &found);
	is(line_of(&found.devices[2]),
	   "2 cuda   mem -1/-1/-1 util -1 temp -1 power -1.0/-1.0   lost: some error",
	   "a device that may not be used is told, and takes no work");
	nvml_close(nvml);

	write_file("nvml", "init 9\n");
	nvml = nvml_open(library, path_of("meminfo"));
	ok(!nvml_read(nvml, now, &found), "without a driver there is no device");
	write_file("nvml", "count 1\n");
	ok(!nvml_read(nvml, now + 30000, &found), "... which is not looked for all the time");
	ok(nvml_read(nvml, now + 61000, &found), "... but after a minute");
	nvml_close(nvml);
	nvml = nvml_open("libnothing-of-the-kind.so", path_of("meminfo"));
	ok(!nvml_read(nvml, now, &found), "without a library there is none");
	nvml_close(nvml);

	snprintf(library, 5000, "%s/libfake-nvml-old.so", program);
	nvml = nvml_open(library, path_of("meminfo"));
	(void) nvml_read(nvml, now, &found);
	is(line_of(&found.devices[0]),
	   "0 cuda Fake 0 GPU-0 mem 1000/600/400 util -1 temp 55 power 123.5/-1.0 550.54 ",
	   "an old driver lacks some of it");
	nvml_close(nvml);
	free(library);
}

/* ---- nvidia-smi ---- */

static char *
write_script(const char *text)
{
	char *path = write_file("smi", text);

	chmod(path, 0755);
	return path;
}

static void
try_smi(void)
{
	const char *script;

	script = write_script(
		"#!/bin/sh\ncase $1 in --query-gpu=index,uuid,*) ;; *) exit 1 ;; esac\n"
		"echo '0, GPU-a, NVIDIA GeForce RTX 4090, 24564, 1024, 23540, 12, 45, 88.25, 450.00, "
		"550.54, 8.9'\n"
		"echo '1, GPU-b, NVIDIA GB10, [N/A], [N/A], [N/A], 0, 40, [N/A], [Not Supported], 580, "
		"12.1'\nexit 15\n");
	ok(smi_read(script, path_of("meminfo"), &found) && found.count == 2,
	   "nvidia-smi tells two devices, whatever its status");
	is(line_of(&found.devices[0]),
	   "0 cuda NVIDIA GeForce RTX 4090 GPU-a mem 25757220864/24683479040/1073741824 util 12 temp "
	   "45 "
	   "power 88.2/450.0 550.54 8.9",
	   "one has all fields");
	is(line_of(&found.devices[1]),
	   "1 cuda NVIDIA GB10 GPU-b mem 134217728/67108864/67108864 util 0 temp 40 power -1.0/-1.0 "
	   "580 "
	   "12.1 unified",
	   "the other one shares the machine's memory");
	ok(!smi_read(write_script("#!/bin/sh\necho 'No devices were found'\n"), path_of("meminfo"),
				 &found),
	   "a message is no device");
	ok(!smi_read("/nowhere/nvidia-smi", path_of("meminfo"), &found), "no program is none");
	ok(!smi_parse("1, 2, 3\n\n,,,,\n99, a, b, 1, 1, 1, 1, 1, 1, 1, 1, 1\n", path_of("meminfo"),
				  &found),
	   "broken lines are passed over");
	ok(smi_parse("0, GPU-a, [GPU is lost], [GPU is lost], , , , , , , , \n", path_of("meminfo"),
				 &found) &&
		   found.devices[0].is_lost,
	   "a lost device is told as one");
}

/* ---- others ---- */

static void
try_amd(void)
{
	mkdir(path_of("drm"), 0755);
	mkdir(path_of("drm/card0"), 0755);
	mkdir(path_of("drm/card0/device"), 0755);
	ok(!amd_read(path_of("drm"), &found), "a card without memory is none of AMD's");
	mkdir(path_of("drm/card1"), 0755);
	mkdir(path_of("drm/card1/device"), 0755);
	mkdir(path_of("drm/card1/device/hwmon"), 0755);
	mkdir(path_of("drm/card1/device/hwmon/hwmon3"), 0755);
	write_file("drm/card1/device/mem_info_vram_total", "2000\n");
	write_file("drm/card1/device/mem_info_vram_used", "500\n");
	write_file("drm/card1/device/gpu_busy_percent", "7\n");
	write_file("drm/card1/device/hwmon/hwmon3/temp1_input", "51000\n");
	write_file("drm/card1/device/hwmon/hwmon3/power1_average", "30000000\n");
	ok(amd_read(path_of("drm"), &found) && found.count == 1, "AMD's driver tells a device");
	is(line_of(&found.devices[0]),
	   "0 rocm AMD GPU  mem 2000/1500/500 util 7 temp 51 power 30.0/-1.0  ",
	   "... with what it has");
}

static void
try_finder(void)
{
	InventorySources sources = {
		.use_smi = true, .nvidia_smi = "/nowhere/nvidia-smi", .meminfo = path_of("meminfo")};
	Finder finder;

	finder_open(&finder, &sources);
	finder_read(&finder, 0, &found);
	ok(found.count == 1 && strcmp(found.devices[0].kind, "cpu") == 0 &&
		   found.devices[0].memory_total == 134217728,
	   "without a device the processor is one");
	finder_close(&finder);

	device_init(&sources.declared.devices[0], 3, "metal");
	device_copy_text(sources.declared.devices[0].name, 96, "Apple M3 Max");
	sources.declared.devices[0].unified = true;
	sources.declared.count = 1;
	finder_open(&finder, &sources);
	finder_read(&finder, 0, &found);
	is(line_of(&found.devices[0]),
	   "3 metal Apple M3 Max  mem 134217728/67108864/67108864 util -1 temp -1 power -1.0/-1.0   "
	   "unified",
	   "a declared device is one");
	ok(found.count == 1, "... and the processor is none then");
	finder_close(&finder);
}

int
main(int count, char **arguments)
{
	(void) count;
	snprintf(program, sizeof(program), "%s", arguments[0]);
	*strrchr(program, '/') = '\0';
	if (mkdtemp(folder) == NULL)
		return 1;
	write_file("meminfo", MEMINFO);
	try_nvml();
	try_smi();
	try_amd();
	try_finder();
	if (fork() == 0)
		execlp("rm", "rm", "-rf", folder, NULL);
	return done();
}

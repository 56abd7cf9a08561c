#include "work.h"
#include <unistd.h>

extern void goBlocked(void);

volatile unsigned long spins;

__attribute__((noinline)) void sleep_long(void) {
	for (;;)
		sleep(3600);
}

__attribute__((noinline)) void spin_in_c(void) {
	for (;;)
		spins++;
}

__attribute__((noinline)) void call_back(void) {
	goBlocked();
	spins++;
}

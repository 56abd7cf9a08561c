void sleep_long(void);
void spin_in_c(void);
void call_back(void);

package main

import "testing"

func TestPlainTerminal(t *testing.T) {
	for _, test := range []struct {
		env  map[string]string
		want bool
	}{
		{nil, false},
		{map[string]string{"TERM": "xterm-256color", "LANG": "C.UTF-8"}, false},
		{map[string]string{"TERM": "dumb", "LANG": "C.UTF-8"}, true},
		{map[string]string{"LANG": "de_DE.ISO-8859-1"}, true},
		{map[string]string{"LANG": "de_DE.ISO-8859-1", "LC_ALL": "en_GB.utf8"}, false},
		{map[string]string{"LANG": "en_GB.utf8", "LC_CTYPE": "ru_RU.KOI8-R"}, true},
		{map[string]string{"LANG": "de_DE.UTF-8@euro"}, false},
		{map[string]string{"LANG": "C"}, false},
	} {
		if got := plainTerminal(func(name string) string { return test.env[name] }); got != test.want {
			t.Errorf("%v: %v", test.env, got)
		}
	}
}

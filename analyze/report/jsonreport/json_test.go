package jsonreport_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/gopostmortem/postmortem/analyze/report"
	"github.com/gopostmortem/postmortem/analyze/report/jsonreport"
)

const schemaFile = "../../../docs/report.schema.json"

func goldens(t testing.TB) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob("../testdata/*.json")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no documents: %v", err)
	}
	answers, err := filepath.Glob("../testdata/answers/*.json")
	if err != nil || len(answers) == 0 {
		t.Fatalf("no answers of commands: %v", err)
	}
	paths = append(paths, answers...)
	files := map[string][]byte{}
	for _, p := range paths {
		data, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(p)] = data
	}
	return files
}

func write(t *testing.T, doc *report.Document, opt jsonreport.Options) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jsonreport.Write(&b, doc, opt); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	s, err := c.Compile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A saved report read back and written again is the same, byte for byte: the JSON holds all that a style needs.
func TestRoundTrip(t *testing.T) {
	for name, data := range goldens(t) {
		doc, err := jsonreport.Read(bytes.NewReader(data))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := write(t, doc, jsonreport.Options{}); !bytes.Equal(got, data) {
			t.Errorf("%s changes on the way:\n%s", name, got)
		}
	}
}

func TestGoldensFollowTheSchema(t *testing.T) {
	s := schema(t)
	for name, data := range goldens(t) {
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(value); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The schema refuses what is not a report, so that the test above can fail.
func TestSchemaRejects(t *testing.T) {
	s := schema(t)
	for name, text := range map[string]string{
		"no schema":            `{}`,
		"another schema":       `{"schema": "postmortem.report/2"}`,
		"unknown status":       `{"schema": "postmortem.report/1", "verdict": {"status": "sure"}}`,
		"clean finding":        `{"schema": "postmortem.report/1", "findings": [{"status": "clean"}]}`,
		"address as a number":  `{"schema": "postmortem.report/1", "death": {"fault_address": 24}}`,
		"address in decimal":   `{"schema": "postmortem.report/1", "death": {"fault_address": "24"}}`,
		"bad reference":        `{"schema": "postmortem.report/1", "findings": [{"because": [{"refs": ["goroutine 8"]}]}]}`,
		"count as text":        `{"schema": "postmortem.report/1", "stacks": [{"count": "7"}]}`,
		"value of environment": `{"schema": "postmortem.report/1", "process": {"environ": ["TOKEN=x"]}}`,
		"short hash":           `{"schema": "postmortem.report/1", "inputs": [{"sha256": "ab"}]}`,
		"unknown trust":        `{"schema": "postmortem.report/1", "stacks": [{"frames": [{"trust": "sure"}]}]}`,
	} {
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if s.Validate(value) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	value, _ := jsonschema.UnmarshalJSON(strings.NewReader(`{"schema": "postmortem.report/1", "later": {"a": 1}}`))
	if err := s.Validate(value); err != nil {
		t.Errorf("a field of a later version is refused: %v", err)
	}
}

// Every field of the Document is described in the schema, and the schema describes nothing else.
func TestSchemaNamesEveryField(t *testing.T) {
	data, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	var root map[string]any
	if err := json.Unmarshal(data, &root); err != nil {
		t.Fatal(err)
	}
	compare(t, root, root, reflect.TypeFor[report.Document](), "report")
}

// compare holds a schema against a type.
func compare(t *testing.T, root, node map[string]any, typ reflect.Type, path string) {
	t.Helper()
	for {
		ref, ok := node["$ref"].(string)
		if !ok {
			break
		}
		node, _ = root["$defs"].(map[string]any)[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
	}
	switch typ.Kind() {
	case reflect.Pointer:
		compare(t, root, node, typ.Elem(), path)
	case reflect.Slice:
		items, ok := node["items"].(map[string]any)
		if !ok {
			t.Errorf("%s: the schema describes no items", path)
			return
		}
		compare(t, root, items, typ.Elem(), path+"[]")
	case reflect.Struct:
		properties, _ := node["properties"].(map[string]any)
		seen := map[string]bool{}
		for i := range typ.NumField() {
			name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			seen[name] = true
			property, ok := properties[name].(map[string]any)
			if !ok {
				t.Errorf("%s.%s is not in the schema", path, name)
				continue
			}
			compare(t, root, property, typ.Field(i).Type, path+"."+name)
		}
		for name := range properties {
			if !seen[name] {
				t.Errorf("%s.%s is in the schema only", path, name)
			}
		}
	}
}

func TestMaxStacks(t *testing.T) {
	doc := &report.Document{Schema: report.Schema, Omitted: &report.Omitted{Groups: 1, Goroutines: 5}}
	for i := range 10 {
		doc.Stacks = append(doc.Stacks, report.Group{ID: uint32(i + 1), Count: 2, Cited: i == 9})
	}
	short, err := jsonreport.Read(bytes.NewReader(write(t, doc, jsonreport.Options{MaxStacks: 3})))
	if err != nil {
		t.Fatal(err)
	}
	if len(short.Stacks) != 4 || short.Stacks[3].ID != 10 || *short.Omitted != (report.Omitted{Groups: 7, Goroutines: 17}) {
		t.Errorf("kept %v, omitted %+v", short.Stacks, short.Omitted)
	}
	if len(doc.Stacks) != 10 || doc.Omitted.Groups != 1 {
		t.Error("the Document was changed")
	}
	if all := write(t, doc, jsonreport.Options{MaxStacks: 10}); !bytes.Equal(all, write(t, doc, jsonreport.Options{})) {
		t.Error("a limit that is not reached changes the report")
	}
}

func TestReadErrors(t *testing.T) {
	for text, want := range map[string]string{
		``:                                     "offset 0",
		`{"schema": "postmortem.report/1"`:     "offset 32",
		`{"schema": 1}`:                        "offset",
		`[]`:                                   "offset",
		`{}`:                                   "field schema is missing",
		`{"schema": "postmortem.report/2"}`:    "this version reads postmortem.report/1",
		`{"schema": "other/1"}`:                `schema "other/1": want postmortem.report/1`,
		`{"schema": "postmortem.report/1"} {}`: "one file holds one report",
	} {
		doc, err := jsonreport.Read(strings.NewReader(text))
		if err == nil || doc != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", text, err, want)
		}
	}
	if _, err := jsonreport.Read(strings.NewReader("{\"schema\": \"postmortem.report/1\", \"later\": [1]}\n")); err != nil {
		t.Errorf("a field of a later version is refused: %v", err)
	}
	var syntax *json.SyntaxError
	if _, err := jsonreport.Read(strings.NewReader(`{"a"` + "\x00")); !errors.As(err, &syntax) {
		t.Errorf("the cause is lost: %v", err)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestWriteError(t *testing.T) {
	if err := jsonreport.Write(broken{}, &report.Document{}, jsonreport.Options{}); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("error is %v", err)
	}
}

// What can be read can be written, and reads the same again.
func FuzzRead(f *testing.F) {
	for _, data := range goldens(f) {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		doc, err := jsonreport.Read(bytes.NewReader(data))
		if err != nil {
			return
		}
		first := write(t, doc, jsonreport.Options{})
		again, err := jsonreport.Read(bytes.NewReader(first))
		if err != nil {
			t.Fatal(err)
		}
		if second := write(t, again, jsonreport.Options{}); !bytes.Equal(first, second) {
			t.Fatalf("%s\nbecomes\n%s", first, second)
		}
	})
}

package measure

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// WriteSection writes text into a page, in the place of what the section of that name held, or at the end of the page. All else
// stays as it is, so that one benchmark does not undo the figures of another. A section stands between two comments:
//
//	<!-- begin NAME -->
//	...
//	<!-- end NAME -->
func WriteSection(path, name, text string) error {
	page, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	page, err = withSection(page, name, text)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, page, 0o644)
}

// withSection is the page with the section.
func withSection(page []byte, name, text string) ([]byte, error) {
	begin, end := "<!-- begin "+name+" -->\n", "<!-- end "+name+" -->\n"
	section := begin + text + end
	if len(text) > 0 && text[len(text)-1] != '\n' {
		section = begin + text + "\n" + end
	}
	head, rest, found := bytes.Cut(page, []byte(begin))
	switch _, tail, closed := bytes.Cut(rest, []byte(end)); {
	case !found && bytes.Contains(page, []byte(end)), found && !closed:
		return nil, fmt.Errorf("section %q has not both its beginning and its end", name)
	case !found && len(page) > 0:
		return append(bytes.TrimRight(page, "\n"), "\n\n"+section...), nil
	default:
		return append(append(bytes.Clone(head), section...), tail...), nil
	}
}

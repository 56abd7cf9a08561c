package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
)

// version is that of the next or current release; see CHANGELOG.md.
const version = "0.1.0"

// released is the date on the manual pages. It is a constant: the same source makes the same pages.
var released = time.Date(2026, time.November, 20, 0, 0, 0, 0, time.UTC)

const rootLong = `postmortem says what went wrong in a Go process that died, hung or crawled.

Give it a core dump, a log that holds the text of a crash, or an execution trace. It names the disease in one sentence, the guilty goroutine and
line, how sure it is, what speaks against it, and what to do. It needs no symbols and no network.

  postmortem FILE...       is short for  postmortem analyze FILE...

Exit codes: 0 analysed, no finding at or above --fail-on; 1 findings at or above it; 2 usage; 3 the input could not be read;
4 something was left unread and --strict was given; 130 interrupted.`

// root builds the command tree.
func (a *app) root() *cobra.Command {
	root := a.analyzeCommand()
	root.Use = "postmortem FILE..."
	root.Short = "Say what went wrong in a Go process that died, hung or crawled"
	root.Long = rootLong
	root.Example = `  postmortem core.1234
  postmortem core.1234 --exe ./server -o markdown=incident.md -o json=incident.json
  postmortem crash.log --fail-on critical
  postmortem trace.out
  ssh host cat core.1234.zst | postmortem -
  postmortem demo`
	root.Version = version
	root.SilenceErrors, root.SilenceUsage = true, true
	root.CompletionOptions.HiddenDefaultCmd = false
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetVersionTemplate(versionText())
	root.AddCommand(a.analyzeCommand(), a.stacksCommand(), a.graphCommand(), a.whyCommand(), a.heapCommand(), a.profileCommand(), a.rulesCommand(),
		a.explainCommand(), a.captureCommand(),
		a.demoCommand(), a.saveCommand(), a.renderCommand(), a.versionCommand(), a.manCommand())
	return root
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Long:    "Print the version of postmortem, the Go version that built it, and the revision it was built from.",
		Example: "  postmortem version",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprint(a.stdout, versionText())
			return err
		},
	}
}

// versionText is one line: version, toolchain, platform, and the revision where the build recorded one.
func versionText() string {
	s := fmt.Sprintf("postmortem %s (%s %s/%s", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				s += ", revision " + setting.Value
			}
		}
	}
	return s + ")\n"
}

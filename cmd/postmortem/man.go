package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func (a *app) manCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "man",
		Short: "Write the manual pages",
		Long:  "Write the manual page postmortem(1) to stdout, or with --dir that of every command to a folder.",
		Example: `  postmortem man | man -l -
  postmortem man --dir /usr/local/share/man/man1`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			root := cmd.Root()
			root.DisableAutoGenTag = true
			header := &doc.GenManHeader{Title: "POSTMORTEM", Section: "1", Source: "postmortem " + version, Manual: "postmortem", Date: &released}
			if dir == "" {
				return doc.GenMan(root, header, a.stdout)
			}
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return fmt.Errorf("--dir: %w", err)
			}
			header.Title = "" // each page has the name of its command
			return doc.GenManTree(root, header, dir)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "write one page per command into this `FOLDER`")
	return cmd
}

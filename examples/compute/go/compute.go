// Package compute is the program's side of `compute:`: write a function of one row, and call AnswerRequests with it.
//
// The function gets what the file names under `read` as JSON, and returns the columns to set, or nil to leave the row as
// it is. It returns a Refuse for a row that cannot be done, and a Later when the service behind it wants to be left
// alone. Any other error ends the program; pgbackfill starts it again and sends the rows once more. Log to standard
// error; standard output belongs to the answers.
package compute

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"time"
)

type Values map[string]any

type Refuse string

func (why Refuse) Error() string { return string(why) }

type Later time.Duration

func (wait Later) Error() string { return "later" }

type request struct {
	ID   string `json:"id"`
	Rows []struct {
		Read json.RawMessage `json:"read"`
	} `json:"rows"`
}

func AnswerRequests(computeRow func(read json.RawMessage) (Values, error)) error {
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var asked request
		if err := in.Decode(&asked); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		answer, err := answerOne(asked, computeRow)
		if err != nil {
			return err
		}
		if err := out.Encode(answer); err != nil {
			return err
		}
	}
}

func answerOne(asked request, computeRow func(json.RawMessage) (Values, error)) (any, error) {
	rows := []any{}
	for _, row := range asked.Rows {
		values, err := computeRow(row.Read)
		var refused Refuse
		var later Later
		switch {
		case errors.As(err, &refused):
			rows = append(rows, Values{"error": string(refused)})
		case errors.As(err, &later):
			return Values{"id": asked.ID, "later": time.Duration(later).Milliseconds()}, nil
		case err != nil:
			return nil, err
		case values == nil:
			rows = append(rows, Values{"skip": true})
		default:
			rows = append(rows, Values{"write": values})
		}
	}
	return Values{"id": asked.ID, "rows": rows}, nil
}

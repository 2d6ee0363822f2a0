// Package filing files reports at the service address of a lab, as citizens do, and
// holds what the town has against what it acknowledged.
//
// A Filer knows only the service address: what gets no answer is sent again with the
// same token, so that a report is filed exactly once. Check reads each acknowledged
// report by its code. A Clerk is an agent of the town hall, who logs in and reads the
// list of all reports: Once holds that against the acknowledged ones, so that a report
// that is there twice is found, too, whoever knows of its second code.
//
// It never looks behind the pages that citizens and agents have.
package filing

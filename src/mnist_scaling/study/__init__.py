"""What a study is on disk, and the words that all stages share.

Training, tuning, the commands and reporting import this package; it imports none of them.
"""

from destination_jsonl.run import run

if __name__ == "__main__":
    run()
